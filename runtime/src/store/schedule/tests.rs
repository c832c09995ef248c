use jiff::SignedDuration;

use super::*;

fn fresh() -> (tempfile::TempDir, Schedules) {
    let folder = tempfile::tempdir().unwrap();
    let schedules = Schedules::open(folder.path()).unwrap();
    (folder, schedules)
}

fn nightly() -> ScheduleName {
    ScheduleName { worker: "shop".into(), name: "nightly".into() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

async fn outcomes(schedules: &Schedules) -> Vec<String> {
    let runs = schedules.history(&nightly(), 100).await.unwrap();
    runs.into_iter().map(|run| run.outcome.unwrap_or_else(|| "runs".to_owned())).collect()
}

#[tokio::test]
async fn a_schedule_is_due_as_it_was_known_until_its_plan_is_another() {
    let (folder, schedules) = fresh();
    assert_eq!(schedules.next(&nightly(), "0 3 * * *", Some(at(100))).await.unwrap(), Some(at(100)));
    drop(schedules);
    let schedules = Schedules::open(folder.path()).unwrap();
    assert_eq!(schedules.next(&nightly(), "0 3 * * *", Some(at(200))).await.unwrap(), Some(at(100)));
    assert_eq!(schedules.next(&nightly(), "0 4 * * *", Some(at(200))).await.unwrap(), Some(at(200)));
}

#[tokio::test]
async fn of_two_who_begin_the_same_run_one_does() {
    let (folder, schedules) = fresh();
    let beside = Schedules::open(folder.path()).unwrap();
    schedules.next(&nightly(), "plan", Some(at(100))).await.unwrap();
    let name = nightly();
    let then = Some(at(200));
    let (one, other) = tokio::join!(schedules.begin(&name, at(100), then), beside.begin(&name, at(100), then));
    assert!(one.unwrap().is_some() != other.unwrap().is_some());
    assert_eq!(schedules.next(&nightly(), "plan", None).await.unwrap(), Some(at(200)));
}

#[tokio::test]
async fn the_history_has_what_each_run_came_to_the_latest_first() {
    let (folder, schedules) = fresh();
    schedules.next(&nightly(), "plan", Some(at(1))).await.unwrap();
    let first = schedules.begin(&nightly(), at(1), Some(at(2))).await.unwrap().unwrap();
    schedules.pass(&nightly(), at(2), Some(at(3)), (RunOutcome::Skipped, "the one before runs")).await.unwrap();
    schedules.end(first, RunOutcome::Failed, Some("no route".to_owned())).await.unwrap();
    schedules.begin(&nightly(), at(3), Some(at(4))).await.unwrap().unwrap();
    assert_eq!(outcomes(&schedules).await, ["runs", "skipped", "failed"]);
    drop(schedules);
    let schedules = Schedules::open(folder.path()).unwrap();
    assert_eq!(outcomes(&schedules).await, ["lost", "skipped", "failed"]);
    let standing = schedules.standing("shop").await.unwrap();
    assert_eq!((standing.len(), standing[0].next), (1, Some(at(4))));
    let last = standing[0].last.as_ref().unwrap();
    assert_eq!((last.due, last.reason.as_deref()), (at(3), Some("the node ended while it ran")));
}

#[tokio::test]
async fn a_run_that_is_asked_for_begins_once_also_after_a_restart() {
    let (folder, schedules) = fresh();
    assert!(!schedules.ask(&nightly()).await.unwrap(), "there is no such schedule");
    schedules.next(&nightly(), "plan", None).await.unwrap();
    let mut asked = schedules.asked(&nightly());
    asked.mark_unchanged();
    assert!(schedules.ask(&nightly()).await.unwrap());
    assert!(asked.has_changed().unwrap(), "who waits is told");
    drop((schedules, asked));
    let schedules = Schedules::open(folder.path()).unwrap();
    assert!(schedules.take_asked(&nightly()).await.unwrap().is_some());
    assert_eq!(schedules.take_asked(&nightly()).await.unwrap(), None);
}

#[tokio::test]
async fn the_latest_thousand_runs_are_kept() {
    let (_folder, schedules) = fresh();
    schedules.next(&nightly(), "plan", Some(at(0))).await.unwrap();
    for number in 0..1010 {
        let passed = (RunOutcome::Missed, "the node was down");
        schedules.pass(&nightly(), at(number), Some(at(number + 1)), passed).await.unwrap();
    }
    let runs = schedules.history(&nightly(), 2000).await.unwrap();
    assert!((1000..=1001).contains(&runs.len()), "{}", runs.len());
    assert_eq!(runs[0].due, at(1009));
}
