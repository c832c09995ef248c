//! Why a node does not do what it was asked for, or cannot be asked.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use http::StatusCode;
use url::Url;

use super::table::plain;
use crate::admin::api::Problem;
use crate::admin::api::shapes::Fault;
use crate::config::{Diagnostic, Diagnostics, Place};

/// Why a node does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Refusal {
    /// The node says so.
    #[error("{}", told(.0))]
    Told(Box<Problem>),
    /// There is nobody, or the connection broke.
    #[error("{}", no_answer(url, error))]
    NoAnswer { url: Url, error: reqwest::Error },
    /// There is a node, and nothing can be deployed to it.
    #[error("the node at {url} has no admin API: give it `store = \"FOLDER\"` in its node.toml")]
    NoApi { url: Url },
    /// It is somebody else.
    #[error("this is no answer of an Eyot node at {url}: {why}; is --admin right?")]
    Strange { url: Url, why: String },
    /// The file that should be sent.
    #[error("{}: {error}", file.display())]
    Component { file: PathBuf, error: io::Error },
}

impl Refusal {
    /// What was asked for is wrong: 2. It could not be done: 1.
    pub(in crate::cli) fn exit_code(&self) -> ExitCode {
        const WRONG: [u16; 6] = [400, 401, 403, 413, 415, 422];
        match self {
            Self::Told(problem) if WRONG.contains(&problem.status) => ExitCode::from(2),
            Self::Told(_) | Self::NoAnswer { .. } | Self::NoApi { .. } | Self::Strange { .. } => ExitCode::FAILURE,
            Self::Component { .. } => ExitCode::FAILURE,
        }
    }

    /// As a document: the node's own, or one like it for faults that were found here.
    pub(in crate::cli) fn document(error: &anyhow::Error) -> Option<Problem> {
        if let Some(Self::Told(problem)) = error.downcast_ref() {
            return Some(Problem::clone(problem));
        }
        if let Some(Shown { problem, .. }) = error.downcast_ref() {
            return Some(problem.clone());
        }
        let Diagnostics(faults) = error.downcast_ref()?;
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Some(Problem {
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            code: "invalid".to_owned(),
            detail: "what is here has faults; nothing was sent".to_owned(),
            faults: faults.iter().cloned().map(Fault::from).collect(),
        })
    }
}

/// Faults that the node found, at their places in the files here.
#[derive(Debug, thiserror::Error)]
#[error("{faults}")]
pub(in crate::cli) struct Shown {
    /// What the node said.
    pub(super) problem: Problem,
    /// The same, as `eyot check` would tell it.
    pub(in crate::cli) faults: Diagnostics,
}

/// What the node cannot know is how this program is told.
fn told(problem: &Problem) -> String {
    let detail = plain(&problem.detail);
    match problem.code.as_str() {
        "unauthenticated" => {
            "the node accepts no token that it was shown; name the file of one, --token-file FILE, or set EYOT_TOKEN. \
                              A node writes its first token to admin.token in the folder of its store"
                .to_owned()
        }
        "raced" => format!("{detail}; look at `eyot deployments` and try again"),
        _ => detail,
    }
}

fn no_answer(url: &Url, error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match error.is_connect() {
        true => format!("no connection: {cause}; is a node with [admin] and `store` running at {url}?"),
        false => format!("the connection to {url} broke before there was an answer: {cause}; look whether it was done"),
    }
}

impl Refusal {
    /// Whether there is no such thing.
    pub(in crate::cli) fn is_missing(&self) -> bool {
        matches!(self, Self::Told(problem) if problem.status == StatusCode::NOT_FOUND.as_u16())
    }

    /// With its faults at their places in files here, if it has any.
    pub(in crate::cli) fn at(self, file: impl Fn(&str) -> Option<PathBuf>) -> anyhow::Error {
        let Self::Told(problem) = self else { return self.into() };
        if problem.faults.is_empty() {
            return Self::Told(problem).into();
        }
        let local = |fault: &Fault| {
            let Fault { file: name, line, column, message, help } = fault.clone();
            let place = Place { file: file(&name).unwrap_or_else(|| name.into()), line, column };
            // It came from elsewhere, and must not move a cursor.
            let told = Diagnostic::new(place, message, help.clone().unwrap_or_default());
            Diagnostic { help: told.help.filter(|_| help.is_some()), ..told }
        };
        let faults = Diagnostics(problem.faults.iter().map(local).collect());
        Shown { problem: *problem, faults }.into()
    }
}
