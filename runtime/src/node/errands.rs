//! Requests of the node itself, to versions that are to serve: isolates run on cores, and whoever deploys is on none.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use tokio::sync::{mpsc, oneshot};

use crate::activate::{Active, Ask};
use crate::dispatch::Core;
use crate::http::{Body, Client};
use crate::observe;

/// One request, and whom to tell with which status it was answered.
struct Errand {
    by: Arc<Active>,
    host: String,
    path: String,
    answered: oneshot::Sender<u16>,
}

/// Who gives errands.
pub(super) struct Errands(mpsc::Sender<Errand>);

/// Where the first core takes them.
pub(super) struct Desk(Mutex<Option<mpsc::Receiver<Errand>>>);

/// So few ask at once that none waits for long.
const MOST: usize = 16;

pub(super) fn desk() -> (Errands, Desk) {
    let (errands, desk) = mpsc::channel(MOST);
    (Errands(errands), Desk(Mutex::new(Some(desk))))
}

impl Errands {
    /// What asks a snapshot.
    pub(super) fn ask(self) -> Ask {
        Box::new(move |by, host, path| {
            let errands = self.0.clone();
            Box::pin(async move {
                let (answered, answer) = oneshot::channel();
                errands.send(Errand { by, host, path, answered }).await.ok()?;
                answer.await.ok()
            })
        })
    }
}

impl Desk {
    /// The first core that comes runs them, on its own runtime.
    pub(super) fn take(&self, core: &Arc<Core>) {
        let Some(mut errands) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let core = Arc::clone(core);
        observe::spawn("errands", async move {
            while let Some(errand) = errands.recv().await {
                observe::spawn("errand", run(Arc::clone(&core), errand));
            }
        });
    }
}

async fn run(core: Arc<Core>, Errand { by, host, path, answered }: Errand) {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let client = Arc::new(Client { address: here, local: here, tls: None, certificate: None });
    // Host and path were looked at before.
    let Ok(request) = Request::builder().uri(path).header("host", host).body(Body::empty()) else { return };
    if let Ok(response) = core.ask(&client, request, Some(by)).await {
        let _ = answered.send(response.status().as_u16());
    }
}
