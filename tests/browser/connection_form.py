"""Airflow's form of a connection, in the words that it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.chromium import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Locator


class ConnectionForm:
    """The dialog that adds or edits a connection."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.page = visitor.page
        self.dialog = self.page.get_by_role("dialog")

    def add(self, kind: str) -> ConnectionForm:
        """Open the form of a new connection of a type, by the words in the list of types."""
        self.visitor.open("connections")
        self.page.get_by_role("button", name="Add Connection").first.click()
        self.choose("Connection Type", kind)
        self.dialog.get_by_text("Standard Fields").wait_for()
        return self

    def edit(self, conn_id: str) -> ConnectionForm:
        """Open the form of a connection that is there."""
        self.visitor.open("connections")
        self._row(conn_id).get_by_role("button", name="Edit Connection").click()
        self.dialog.get_by_text("Standard Fields").wait_for()
        return self

    def field(self, label: str) -> Locator:
        """The field with this label, with the part of the form opened in which it is."""
        root = self.dialog.locator("[data-scope=field][data-part=root]")
        own = root.filter(has=self.page.locator("label", has_text=label)).first
        part = own.locator("xpath=ancestor::*[@data-part='item'][1]")
        if part.count() and part.get_attribute("data-state") == "closed":
            part.get_by_role("button").first.click()
        # Before Airflow 3.2 a choice is a button.
        return own.locator("input:visible, textarea:visible, button[role=combobox]:visible").first

    def fill(self, **values: str) -> ConnectionForm:
        """Fill fields in, by their labels; underscores stand for spaces."""
        for label, value in values.items():
            self.field(label.replace("_", " ")).fill(value)
        return self

    def fill_json(self, text: str) -> ConnectionForm:
        """Write ``extra`` as JSON."""
        self.dialog.get_by_role("button", name="Extra Fields JSON").click()
        editor = self.dialog.locator(".monaco-editor, .cm-editor").first  # the latter before Airflow 3.2
        editor.click()
        # Pasted: the editor would add brackets and indents to what is typed.
        self.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page.evaluate("text => navigator.clipboard.writeText(text)", text)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.press("Control+V")
        self.dialog.get_by_text("Connection ID").first.click()  # the form reads it when the editor is left
        return self

    def choices(self, label: str) -> list[str]:
        """What a field offers."""
        self.field(label).click()
        offered = self.page.locator("[role=option]:visible")
        offered.first.wait_for()
        return [option.inner_text() for option in offered.all()]

    def choose(self, label: str, words: str) -> ConnectionForm:
        """Choose from what a field offers."""
        field = self.field(label)
        if field.evaluate("element => element.tagName") == "BUTTON":  # before Airflow 3.2
            field.click()
            self.page.locator("[role=option]:visible", has_text=words).first.click()
        else:
            field.fill(words)
            self.page.keyboard.press("Enter")
        return self

    def save(self) -> None:
        """Save, and wait until the form has gone."""
        self.dialog.get_by_role("button", name="Save").click()
        self.dialog.wait_for(state="detached")

    def test(self, conn_id: str) -> str:
        """Press the Test button of a connection that is saved; what Airflow answers."""
        self.visitor.open("connections")
        with self.page.expect_response("**/connections/test") as response:
            self._row(conn_id).get_by_role("button", name="Test Connection").click()
        answer = response.value.json()
        return str(answer.get("message") or answer.get("detail"))

    def _row(self, conn_id: str) -> Locator:
        return self.page.get_by_role("row", name=conn_id)
