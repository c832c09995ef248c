//! `eyot probe`: is the node of this machine alive, is it ready? For whoever cannot ask the operator's listener itself.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{address, say};

/// Ask a node on this machine whether it is alive, or ready for requests.
///
/// The operator's listener answers to this machine alone, so a kubelet or a container engine cannot ask it from outside: they run this
/// inside the container.
#[derive(Args)]
#[command(after_help = "Examples:
  eyot probe ready
  eyot probe live --admin 127.0.0.1:9999 --timeout 2s

Exit codes: 0 when it is, 1 when it is not or does not answer, 2 when the input is wrong.")]
pub(super) struct Probe {
    #[arg(value_enum)]
    what: What,

    /// The operator's listener of the node: `admin` of its node.toml.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090", value_parser = address)]
    admin: SocketAddr,

    /// How long to wait for the answer.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Whether the process runs and answers.
    Live,
    /// Whether requests may be sent to it: it serves, and does not drain.
    Ready,
}

/// No answer of ours is longer, in bytes.
const LONGEST: usize = 4096;

impl Probe {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = runtime.block_on(async { timeout(self.timeout, self.ask()).await });
        let waited = humantime::format_duration(self.timeout);
        let late = |_| anyhow!("{} does not answer within {waited}", self.admin);
        let (status, said) = asked.map_err(late)??;
        match status {
            StatusCode::OK => say::result(&said),
            _ => Err(anyhow!("{status}: {}", said.trim_end())),
        }
    }

    async fn ask(&self) -> anyhow::Result<(StatusCode, String)> {
        let path = match self.what {
            What::Live => "/healthz",
            What::Ready => "/readyz",
        };
        let reached = TcpStream::connect(self.admin).await;
        let socket = reached.with_context(|| format!("{} cannot be reached", self.admin))?;
        let (mut sender, connection) = handshake(TokioIo::new(socket)).await?;
        let request = Request::builder().uri(path).header(HOST, self.admin.to_string()).body(Empty::<Bytes>::new())?;
        // Takes the sender with it, whose end is the connection's.
        let asked = async move {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| anyhow!(error))?.to_bytes();
            anyhow::Ok((head.status, String::from_utf8_lossy(&body).into_owned()))
        };
        let (answer, _) = tokio::join!(asked, connection);
        answer
    }
}
