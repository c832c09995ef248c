//! Origins whose every request a test sees, and whose every answer it decides.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use super::PATIENCE;

/// A short good answer, after which the connection ends.
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// An HTTP/1.1 server that takes one request from each connection.
pub struct Origin {
    pub address: SocketAddr,
    requests: Receiver<Asked>,
}

/// A request that has come. Its connection is held open until this is answered or dropped.
pub struct Asked {
    /// Everything up to the end of the header section.
    pub head: String,
    socket: TcpStream,
}

impl Asked {
    pub fn answer(mut self, response: &str) {
        // Whoever asked may be gone.
        let _ = self.socket.write_all(response.as_bytes());
    }
}

impl Asked {
    /// Answers before it has read the request, and tells what there is of it when its connection ends.
    pub fn answer_early(mut self, response: &str) -> String {
        self.socket.write_all(response.as_bytes()).expect("it is there");
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut rest = Vec::new();
        // A connection that is reset has ended, too.
        let _ = self.socket.read_to_end(&mut rest);
        self.head + &String::from_utf8_lossy(&rest)
    }
}

impl Origin {
    /// One that answers nothing by itself: the test does.
    pub fn silent() -> Self {
        Self::start(|asked, seen| drop(seen.send(asked)))
    }

    /// One that answers [`OK`] to everything, and keeps what it was asked.
    pub fn answering() -> Self {
        Self::start(|asked, seen| {
            let Ok(socket) = asked.socket.try_clone() else { return };
            let _ = seen.send(Asked { head: asked.head.clone(), socket });
            asked.answer(OK);
        })
    }

    /// One that answers [`OK`] to everything and keeps nothing.
    pub fn forgetting() -> Self {
        Self::start(|asked, _| asked.answer(OK))
    }

    fn start(each: fn(Asked, &Sender<Asked>)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let seen = sender.clone();
                std::thread::spawn(move || {
                    let head = head(&mut socket);
                    each(Asked { head, socket }, &seen);
                });
            }
        });
        Self { address, requests }
    }

    /// The next request; it must come.
    pub fn next(&self) -> Asked {
        self.requests.recv_timeout(PATIENCE).expect("the origin is asked")
    }

    /// The next request, if one comes so soon.
    pub fn next_within(&self, time: Duration) -> Option<Asked> {
        self.requests.recv_timeout(time).ok()
    }

    /// What has come so far, even where it was no whole request.
    pub fn so_far(&self) -> Vec<String> {
        self.requests.try_iter().map(|asked| asked.head).collect()
    }

    /// A node.toml's lines that make this an origin by that name.
    pub fn declared(&self, name: &str) -> String {
        format!("[[origin]]\nname = \"{name}\"\nurl = \"http://{}\"\n", self.address)
    }
}

fn head(socket: &mut TcpStream) -> String {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match socket.read(&mut buffer) {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}
