SELECT * FROM `${task_definitions_v1}`
