-- Who pushed most in the last 30 days: their pushes (task groups), and the tasks of these.
-- Tasks of which nobody knows for whom they ran, such as those of a cancelled push, are left out.
SELECT
  tags.created_for_user AS pusher,
  COUNT(DISTINCT task_group_id) AS pushes,
  COUNT(*) AS tasks,
  COUNTIF(tags.project = 'try') AS tasks_on_try
FROM fxci.tasks
WHERE submission_date BETWEEN CURRENT_DATE() - 30 AND CURRENT_DATE() - 1
  AND tags.created_for_user IS NOT NULL
GROUP BY pusher
ORDER BY pushes DESC, tasks DESC, pusher
LIMIT 20
