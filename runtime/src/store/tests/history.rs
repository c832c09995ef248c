//! History is bounded by the rule of pruning, and by nothing else.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::*;

/// So many deployments and lines stay, whatever their age.
fn keep(history: u32, audit: u32) -> Keep {
    let many = |number| NonZeroU32::new(number).unwrap();
    Keep {
        deployments: NonZeroU32::MIN,
        history: many(history),
        audit: many(audit),
        audit_younger_than: Duration::ZERO,
        ..Keep::default()
    }
}

async fn deploy_often(store: &Store, version: &Version, times: usize) -> Vec<Deployment> {
    let made = join_all((0..times).map(|_| store.deploy(by(), whole(version)))).await;
    made.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn of_each_workers_deployments_the_newest_stay() {
    let (folder, store) = fresh();
    let (one, two) = (add(&store, "one", b"1").await, add(&store, "two", b"2").await);
    let (mut first, mut second) = (deploy_often(&store, &one, 9).await, deploy_often(&store, &two, 2).await);
    let pruned = store.prune(by(), keep(3, 10_000)).await.unwrap();
    assert_eq!(pruned, Pruned { deployments: 6, ..Pruned::default() });
    first.reverse();
    first.truncate(3);
    assert_eq!(store.deployments("one", None, 99).await.unwrap(), first);
    second.reverse();
    assert_eq!(store.deployments("two", None, 99).await.unwrap(), second);
    assert_eq!(store.prune(by(), keep(3, 10_000)).await.unwrap(), Pruned::default());
    // Numbers go on, and so does history.
    deploy_often(&store, &one, 2).await;
    assert_eq!(store.deployments("one", None, 99).await.unwrap().len(), 5);
    assert_eq!(store.prune(by(), keep(3, 10_000)).await.unwrap().deployments, 2);
    let before = everything(&store).await;
    assert_eq!(store.check().await.unwrap(), []);
    drop(store);
    assert_eq!(everything(&open(folder.path()).unwrap()).await, before);
}

#[tokio::test]
async fn a_deployment_that_a_key_answers_with_stays() {
    let (_folder, store) = fresh();
    let version = add(&store, "api", b"1").await;
    deploy_often(&store, &version, 2).await;
    let request = Digest::of(b"request");
    let keyed = |lasts: i64| {
        let expires = Timestamp::now().checked_add(SignedDuration::from_secs(lasts)).unwrap();
        By { who: "bob".to_owned(), once: Some(Once { key: "k".to_owned(), request, expires }) }
    };
    let made = store.deploy(keyed(3600), whole(&version)).await.unwrap();
    deploy_often(&store, &version, 3).await;
    assert_eq!(store.prune(by(), keep(1, 10_000)).await.unwrap().deployments, 2);
    assert_eq!(store.deploy(keyed(3600), whole(&version)).await.unwrap(), made);
}

#[tokio::test]
async fn the_audit_keeps_its_newest_lines_and_all_that_are_young() {
    let (folder, store) = fresh();
    let version = add(&store, "api", b"1").await;
    deploy_often(&store, &version, 20).await;
    let numbers = |audit: Vec<AuditEntry>| audit.into_iter().map(|line| line.number).collect::<Vec<_>>();
    let young = Keep { audit_younger_than: Duration::from_secs(3600), ..keep(1_000, 5) };
    assert_eq!(store.prune(by(), young).await.unwrap(), Pruned::default());
    assert_eq!(store.prune(by(), keep(1_000, 5)).await.unwrap(), Pruned { audit: 17, ..Pruned::default() });
    // What was pruned has a line of its own.
    assert_eq!(numbers(store.audit(None, 99).await.unwrap()), [23, 22, 21, 20, 19, 18]);
    assert_eq!(store.audit(None, 1).await.unwrap()[0].action, "prune");
    deploy_often(&store, &version, 1).await;
    assert_eq!(numbers(store.audit(None, 1).await.unwrap()), [24]);
    assert_eq!(store.check().await.unwrap(), []);
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(store.audit(None, 99).await.unwrap().len(), 7);
}

#[tokio::test]
async fn tokens_that_do_not_hold_and_expired_keys_go_with_the_old_lines() {
    let (_folder, store) = fresh();
    let past = Some(Timestamp::now().checked_sub(SignedDuration::from_secs(9)).unwrap());
    let holds = store.add_token(by(), token("holds")).await.unwrap();
    let later = NewToken { expires: Some("2100-01-01T00:00:00Z".parse().unwrap()), ..token("holds longer") };
    let later = store.add_token(by(), later).await.unwrap();
    store.add_token(by(), NewToken { expires: past, ..token("expired") }).await.unwrap();
    let revoked = store.add_token(by(), token("revoked")).await.unwrap();
    store.revoke_token(by(), revoked.id).await.unwrap();
    set(&store, "api", "x", "1").await;
    store.remove_secret(by(), "api", name("x")).await.unwrap();
    assert_eq!(store.prune(by(), Keep::default()).await.unwrap(), Pruned::default());
    assert_eq!(store.prune(by(), keep(1, 10_000)).await.unwrap(), Pruned { tokens: 2, ..Pruned::default() });
    assert_eq!(store.tokens().await.unwrap(), [holds, later]);
    // Nobody remembers its revision by now.
    assert_eq!(set(&store, "api", "x", "1").await, 1);
}

#[tokio::test]
async fn history_is_deleted_by_no_statement_but_before_its_horizon_which_only_advances() {
    let (folder, store) = fresh();
    let version = add(&store, "api", b"1").await;
    deploy_often(&store, &version, 9).await;
    store.prune(by(), keep(3, 4)).await.unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    let refused = |statement: &str| connection.execute(statement, []).unwrap_err().to_string();
    for table in ["deployments", "shares", "audit", "horizons"] {
        assert!(refused(&format!("DELETE FROM {table}")).contains("never deleted"), "{table}");
    }
    assert!(refused("UPDATE horizons SET begins = begins - 1").contains("never moved back"));
    // Whoever moves one by hand is found out by its seal.
    connection.execute("UPDATE horizons SET begins = begins + 1 WHERE history = 'audit'", []).unwrap();
    connection.execute("DELETE FROM audit WHERE number = (SELECT min(number) FROM audit)", []).unwrap();
    drop(connection);
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("where the audit of 0 begin"), "{error}");
}

#[tokio::test]
async fn a_line_that_the_audit_lacks_is_missed() {
    let (folder, store) = fresh();
    let version = add(&store, "api", b"1").await;
    deploy_often(&store, &version, 3).await;
    drop(store);
    let connection = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    let trigger = "SELECT sql FROM sqlite_schema WHERE name = 'audit_remains'";
    let trigger: String = connection.query_row(trigger, [], |row| row.get(0)).unwrap();
    let lost = format!("DROP TRIGGER audit_remains; DELETE FROM audit WHERE number = 3; {trigger};");
    connection.execute_batch(&lost).unwrap();
    drop(connection);
    let faults = open(folder.path()).unwrap().check().await.unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].to_string().contains("the audit lacks lines between 1 and 5"), "{}", faults[0]);
}
