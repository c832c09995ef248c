//! Schedules of workers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The schedules of a worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Schedules {
    /// By name.
    pub schedules: Vec<Schedule>,
}

/// A schedule.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it is due next. Nothing: never, or no version that serves has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next: Option<Timestamp>,
    /// Its latest run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<ScheduleRun>,
}

/// A run of a schedule.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduleRun {
    /// When it should have begun.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// When it has. Nothing: somebody has asked for it, and it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub began: Option<Timestamp>,
    /// When it was over. Nothing: it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// What it came to: `done`, `failed`, `skipped`, `missed`, `lost`, or `elsewhere`, on another node of the fleet. Nothing: it runs, or waits to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why, where that was not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The runs of a schedule.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduleHistory {
    /// The latest first; the latest thousand are kept.
    pub runs: Vec<ScheduleRun>,
}

/// How many.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ScheduleRuns {
    /// So many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}
