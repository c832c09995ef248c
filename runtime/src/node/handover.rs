//! From one process to the next: what a node comes by, and what it passes on.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Node, internal};
use crate::acme::Orders;
use crate::activate::Deployments;
use crate::config::{Diagnostic, Diagnostics};
use crate::ingress::{Given, Listening};
use crate::life::{State, TakeOver};

/// What a process comes by that does not begin from nothing.
#[derive(Debug, Default)]
pub struct Arrival<'a> {
    /// Sockets that listen already.
    pub given: Given,
    /// Who serves until this node does.
    pub predecessor: Option<&'a TakeOver>,
    /// Whether another process may take over from this one.
    pub shares: bool,
}

/// What a node has alone: its store, and with it the orders of certificates. Compiled code may be shared.
pub struct Alone {
    deployments: Option<Arc<Deployments>>,
    orders: Option<Arc<Orders>>,
}

impl State for Alone {
    fn release(&self) -> Result<(), String> {
        self.orders.iter().for_each(|orders| orders.stop());
        let released = self.deployments.as_ref().map_or(Ok(()), |deployments| deployments.release());
        // Then it is still ours.
        released
            .inspect_err(|_| self.orders.iter().for_each(|orders| orders.start()))
            .map_err(|error| error.to_string())
    }

    fn resume(&self) -> Result<(), String> {
        let resumed = self.deployments.as_ref().map_or(Ok(()), |deployments| deployments.resume());
        resumed.inspect(|()| self.orders.iter().for_each(|orders| orders.start())).map_err(|error| error.to_string())
    }
}

impl Arrival<'_> {
    /// Nobody else has any state from here on, or it is a fault.
    pub(super) fn take_state(&self) -> Result<(), Diagnostics> {
        match self.predecessor.map(TakeOver::take_state) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Diagnostic::from(error).into()),
        }
    }
}

/// The sockets once more, if they are to be passed on.
pub(super) fn shared<'a>(
    listening: impl Iterator<Item = &'a Listening>,
    arrival: &Arrival<'_>,
) -> Result<Vec<(SocketAddr, TcpListener)>, Diagnostics> {
    if !arrival.shares {
        return Ok(Vec::new());
    }
    listening.map(Listening::share).collect::<Result<_, _>>().map_err(|error| internal("another descriptor", &error))
}

impl Node {
    /// Its sockets once more, each with its address in the configuration, where they are to be passed on. They are given away: none of
    /// them closes before they do.
    pub fn shared(&self) -> Vec<(SocketAddr, TcpListener)> {
        std::mem::take(&mut *self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What another process must have to itself before it can take the place of this one.
    pub fn alone(&self) -> Alone {
        Alone { deployments: self.deployments.clone(), orders: self.orders.clone() }
    }

    /// Whether every core, the operator's included, comes to what it is asked within this time. `None`: they have ended.
    pub fn answering(&self) -> impl Fn(Duration) -> Option<bool> + Send + Sync + use<> {
        let (cores, admin) = (self.cores.answering(), self.admin_core.as_ref().map(|core| core.answering()));
        move |patience| {
            let answered = cores(patience)?;
            Some(answered && admin.as_ref().is_none_or(|admin| admin(patience) == Some(true)))
        }
    }

    /// Lets connections go on in the other process, after one more request: for half of limit `drain`.
    pub(super) async fn part(&self) {
        self.cores.part();
        if let Some(admin) = &self.admin_core {
            admin.part();
        }
        let _ = tokio::time::timeout(self.drain / 2, self.cores.emptied()).await;
    }
}
