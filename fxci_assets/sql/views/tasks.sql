SELECT * FROM `${tasks_v2}`
