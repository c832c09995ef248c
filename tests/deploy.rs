//! What is deployed by the admin API: from outside, on real nodes.

mod harness;

#[path = "deploy/changes.rs"]
mod changes;
#[path = "deploy/generated.rs"]
mod generated;
#[path = "deploy/kills.rs"]
mod kills;
#[path = "deploy/operator.rs"]
mod operator;
#[path = "deploy/restarts.rs"]
mod restarts;
#[path = "deploy/rollouts.rs"]
mod rollouts;
#[path = "deploy/secrets.rs"]
mod secrets;
#[path = "deploy/tail.rs"]
mod tail;
#[path = "deploy/tenants.rs"]
mod tenants;
#[path = "deploy/thousand.rs"]
mod thousand;
