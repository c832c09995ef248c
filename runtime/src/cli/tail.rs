//! `eyot tail`: requests and what guests write, while it happens.
//!
//! A thread reads, and begins anew when the node does; the main one prints. What a guest wrote stands below its request, which is told
//! when it is over: lines wait for it a second at most.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sse_stream::{Sse, SseByteStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::admin::{Admin, Connection, Refusal, after_help, plain};
use super::say;
use crate::observe::status_style;

/// Look at requests and at what guests write, while it happens; at a node, or at `eyot dev`, which needs no token.
#[derive(Args)]
#[command(after_help = after_help!("  eyot tail
  eyot tail shop 'mail-*'              of these workers
  eyot tail --status 5xx --status 404
  eyot tail shop --method POST --header x-tenant:acme
  eyot tail --search /checkout
  eyot tail --sample 0.01 --json       one JSON document for each event, of a hundredth of all requests

What a guest writes is shown where no status, method or header is asked for. If the node restarts, the tail goes on. A signal ends
it: ctrl-c."))]
pub(super) struct Tail {
    /// Names of workers; `*` is any number of characters. Without one: all that your token is for.
    #[arg(value_name = "WORKER")]
    workers: Vec<String>,

    /// Only requests that were answered so: 404, or 5xx for a class. Can be repeated.
    #[arg(long, value_name = "STATUS")]
    status: Vec<String>,

    /// Only requests of this method. Can be repeated.
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,

    /// Only requests with this header, as their client sent it. Repeated: with all of them.
    #[arg(long, value_name = "NAME:VALUE")]
    header: Vec<String>,

    /// Only what has this text in its path or line.
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,

    /// A part of all requests, 0 to 1, each with its lines.
    #[arg(long, value_name = "RATE")]
    sample: Option<f64>,

    #[command(flatten)]
    admin: Admin,
}

/// What the reader tells.
enum News {
    Event(Sse),
    /// A node answers again.
    Again,
    /// There is none for now.
    Gone(String),
    /// There is no use in asking again.
    Refused(Refusal),
}

/// How long lines wait for their request.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many of them at most.
const MOST: usize = 1_000;

/// How long the reader waits before it asks again: longer each time.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How wide host and path are together; longer ones move what follows.
const PLACE: usize = 44;

impl Tail {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.admin.run(|| {
            let (connection, query) = (self.admin.connect()?, self.query());
            // One that cannot be had at all is told at once.
            let first = connection.stream(&["tail"], &query)?;
            let (sender, news) = mpsc::channel(64);
            std::thread::Builder::new()
                .name("tail".to_owned())
                .spawn(move || read(&connection, &query, first, &sender))
                .context("no thread can be had")?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let interrupt = {
                let _entered = runtime.enter();
                signal(SignalKind::interrupt())?
            };
            runtime.block_on(self.print(news, interrupt))
        })
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let each = |name, values: &[String]| values.iter().map(|value| (name, value.clone())).collect::<Vec<_>>();
        let named = [("worker", &self.workers), ("status", &self.status), ("method", &self.method)];
        let mut query: Vec<_> = named.into_iter().flat_map(|(name, values)| each(name, values)).collect();
        query.extend(each("header", &self.header));
        query.extend(self.search.clone().map(|text| ("search", text)));
        query.extend(self.sample.map(|rate| ("sample", rate.to_string())));
        query
    }

    /// Until a signal comes, or nobody reads.
    async fn print(&self, mut news: Receiver<News>, mut interrupt: Signal) -> anyhow::Result<()> {
        let mut waiting = Waiting::default();
        let mut ticks = tokio::time::interval(PATIENCE / 4);
        loop {
            let mut text = String::new();
            tokio::select! {
                biased;
                _ = interrupt.recv() => return Ok(()),
                told = news.recv() => match told {
                    Some(News::Event(event)) => match self.admin.wants_json() {
                        true => text = document(&event)?,
                        false => waiting.take(&event, &mut text),
                    },
                    Some(News::Again) => say::line("a node answers again"),
                    Some(News::Gone(why)) => say::line(format_args!("{}; waiting for a node", plain(&why))),
                    Some(News::Refused(refusal)) => return Err(refusal.into()),
                    None => return Ok(()),
                },
                _ = ticks.tick() => waiting.release(&mut text),
            }
            let mut stdout = anstream::stdout().lock();
            match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("what is seen cannot be printed")?,
            }
        }
    }
}

/// Reads until nobody listens.
fn read(
    connection: &Connection,
    query: &[(&'static str, String)],
    mut response: reqwest::blocking::Response,
    news: &Sender<News>,
) {
    loop {
        let mut why = "the connection broke".to_owned();
        let chunks = stream::iter(std::iter::from_fn(|| chunk(&mut response)));
        let mut events = std::pin::pin!(SseByteStream::new(chunks));
        // There is always a next one: it is waited for in `chunk`.
        while let Some(Some(Ok(event))) = events.next().now_or_never() {
            if event.event.as_deref() == Some("end") {
                why = event
                    .data
                    .as_deref()
                    .and_then(|data| serde_json::from_str(data).ok())
                    .map_or(why, |End { why }| why);
                break;
            }
            if news.blocking_send(News::Event(event)).is_err() {
                return;
            }
        }
        if news.blocking_send(News::Gone(why)).is_err() {
            return;
        }
        let mut pause = PAUSES.0;
        response = loop {
            wait(pause);
            pause = (2 * pause).min(PAUSES.1);
            match connection.stream(&["tail"], &query) {
                Ok(response) => break response,
                Err(refusal) if refusal.may_pass() && !news.is_closed() => {}
                // Whoever listened has gone, or is told.
                Err(refusal) => return drop(news.blocking_send(News::Refused(refusal))),
            }
        };
        if news.blocking_send(News::Again).is_err() {
            return;
        }
    }
}

fn chunk(response: &mut reqwest::blocking::Response) -> Option<io::Result<Bytes>> {
    let mut bytes = vec![0; 16 * 1024];
    match response.read(&mut bytes) {
        Ok(0) => None,
        Ok(length) => {
            bytes.truncate(length);
            Some(Ok(bytes.into()))
        }
        Err(error) => Some(Err(error)),
    }
}

#[allow(clippy::disallowed_methods, reason = "the command line serves nobody")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// An event as it came, in one line.
fn document(event: &Sse) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        event: &'a str,
        data: &'a RawValue,
    }
    let (Some(name), Some(data)) = (&event.event, &event.data) else { return Ok(String::new()) };
    let data = serde_json::from_str(data).context("what the node tells is no JSON")?;
    Ok(serde_json::to_string(&Document { event: name, data })? + "\n")
}

#[derive(Deserialize)]
struct End {
    why: String,
}

#[derive(Deserialize)]
struct Dropped {
    events: u64,
}

/// A request that is over, as far as it is shown.
#[derive(Deserialize)]
struct Request {
    time: Timestamp,
    request_id: String,
    method: String,
    host: String,
    path: String,
    status: u16,
    failure: Option<String>,
    duration_us: u64,
    cpu_us: Option<u64>,
    peak_memory_bytes: Option<u64>,
    start: Option<String>,
    worker: Option<String>,
    version: Option<String>,
}

/// What a guest wrote.
#[derive(Deserialize)]
struct Line {
    time: Timestamp,
    request_id: String,
    worker: String,
    level: String,
    message: String,
}

/// Lines whose request is not over, the oldest first.
#[derive(Default)]
struct Waiting(VecDeque<(Instant, Line)>);

impl Waiting {
    /// Shows a request with its lines, or lets a line wait for it.
    fn take(&mut self, event: &Sse, text: &mut String) {
        let data = event.data.as_deref().unwrap_or_default();
        match event.event.as_deref() {
            Some("request") => {
                let Ok(request) = serde_json::from_str::<Request>(data) else { return };
                request.show(text);
                let lines = std::mem::take(&mut self.0);
                let (own, others) = lines.into_iter().partition(|(_, line)| line.request_id == request.request_id);
                self.0 = others;
                let own: VecDeque<_> = own;
                own.iter().for_each(|(_, line)| line.show(None, text));
            }
            Some("log") => {
                let Ok(line) = serde_json::from_str(data) else { return };
                self.0.push_back((Instant::now(), line));
                self.release(text);
            }
            Some("dropped") => {
                let Ok(Dropped { events }) = serde_json::from_str(data) else { return };
                say::line(format_args!("{events} events are left out: they come faster than they are read"));
            }
            // A node of a later version tells more.
            _ => {}
        }
    }

    /// Shows what has waited for long, or is too much.
    fn release(&mut self, text: &mut String) {
        let is_due = |waiting: &VecDeque<(Instant, Line)>| {
            waiting.len() > MOST || waiting.front().is_some_and(|(since, _)| since.elapsed() >= PATIENCE)
        };
        while is_due(&self.0) {
            let Some((_, line)) = self.0.pop_front() else { return };
            line.show(Some(&line.request_id), text);
        }
    }
}

impl Request {
    fn show(&self, text: &mut String) {
        let (dim, good) = (Style::new().dimmed(), status_style(self.status));
        let place = plain(&format!("{}{}", self.host, self.path));
        let cpu = self.cpu_us.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu} µs CPU"));
        let memory =
            self.peak_memory_bytes.map_or_else(|| "-".to_owned(), |most| format!("{} KiB", most.div_ceil(1024)));
        let time = time(self.time);
        let (method, status, ms) = (plain(&self.method), self.status, self.duration_us as f64 / 1e3);
        let start = plain(self.start.as_deref().unwrap_or("-"));
        // Writing to a String does not fail.
        let _ = write!(text, "{dim}{time}{dim:#} {method:<7} {place:<PLACE$} {good}{status}{good:#} {ms:>9.2} ms");
        let _ = write!(text, " {cpu:>12} {memory:>10}  {start:<8}");
        if let (Some(worker), Some(version)) = (&self.worker, &self.version) {
            let _ = write!(text, " {dim}{}@{}{dim:#}", plain(worker), plain(version));
        }
        if let Some(failure) = &self.failure {
            let _ = write!(text, " {good}{}{good:#}", plain(failure));
        }
        text.push('\n');
    }
}

impl Line {
    /// Below its request; with its id, where that is not over.
    fn show(&self, request: Option<&str>, text: &mut String) {
        let dim = Style::new().dimmed();
        let style = match self.level.as_str() {
            "ERROR" => AnsiColor::Red.on_default(),
            "WARN" => AnsiColor::Yellow.on_default(),
            "INFO" => AnsiColor::Cyan.on_default(),
            _ => dim,
        };
        let (time, level) = (time(self.time), plain(&self.level).to_lowercase());
        let _ = write!(text, "{dim}{time}{dim:#} {style}{level:>7}{style:#} {}", plain(&self.message));
        if let Some(request) = request {
            let _ = write!(text, " {dim}{} {}{dim:#}", plain(&self.worker), plain(request));
        }
        text.push('\n');
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Sse {
        Sse::default().event(name).data(data)
    }

    fn line(request: &str, message: &str) -> Sse {
        let head = r#""time":"2026-02-03T04:05:06.789000Z","worker":"shop","level":"WARN""#;
        event("log", &format!("{{{head},\"request_id\":{request:?},\"message\":{message:?}}}"))
    }

    const REQUEST: &str = r#"{"time":"2026-02-03T04:05:06.700000Z","request_id":"one","method":"GET","host":"shop.example",
        "path":"/a\u001bb","status":200,"duration_us":1240,"cpu_us":310,"peak_memory_bytes":1179648,"start":"warm","worker":"shop",
        "version":"3"}"#;

    #[test]
    fn lines_stand_below_their_request_and_move_no_cursor() {
        let (mut waiting, mut text) = (Waiting::default(), String::new());
        waiting.take(&line("one", "first"), &mut text);
        waiting.take(&line("two", "other"), &mut text);
        assert_eq!(text, "");
        waiting.take(&event("request", REQUEST), &mut text);
        let shown = anstream::adapter::strip_str(&text).to_string();
        let place = format!("{:<PLACE$}", "shop.example/a\\u{1b}b");
        assert_eq!(
            shown,
            format!(
                "04:05:06.700Z GET     {place} 200      1.24 ms   310 µs CPU   1152 KiB  warm     shop@3\n\
                 04:05:06.789Z    warn first\n"
            )
        );
        assert_eq!(waiting.0.len(), 1, "the other one waits");
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut waiting, mut text) = (Waiting::default(), String::new());
        (0..=MOST).for_each(|_| waiting.take(&line("one", "first"), &mut text));
        assert_eq!((waiting.0.len(), text.lines().count()), (MOST, 1));
        assert!(text.contains("shop one"), "{text}");
    }
}
