"""Job executions of the MapReduce Service (MRS) of Huawei Cloud and the Open Telekom Cloud."""
