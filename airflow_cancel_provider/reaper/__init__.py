"""The sweep that finds what every other layer has missed: living jobs whose task is over."""
