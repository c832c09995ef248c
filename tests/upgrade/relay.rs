//! Stands between the process that serves and the one that takes over, hears what they say, and kills the second at a word.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind, connect, listen, recvmsg, sendmsg, socket_with,
};

/// At the place of the node's own socket, which is back when this is dropped.
pub struct Relay {
    path: PathBuf,
    aside: PathBuf,
    door: OwnedFd,
}

fn socket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a socket")
}

fn address(path: &Path) -> SocketAddrUnix {
    SocketAddrUnix::new(path).expect("a short path")
}

impl Relay {
    pub fn before(path: &Path) -> Self {
        let aside = path.with_extension("aside");
        std::fs::rename(path, &aside).expect("a socket of a node");
        let door = socket();
        bind(&door, &address(path)).expect("a free path");
        listen(&door, 1).expect("it listens");
        Self { path: path.to_owned(), aside, door }
    }

    /// Starts a process that takes over, passes on what is said, and kills the process before this word is. Says whether it came so far.
    pub fn kill_at(&self, word: &str, command: impl FnOnce() -> Command) -> bool {
        let mut child = command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let new = accept(&self.door).expect("it comes");
        let old = socket();
        connect(&old, &address(&self.aside)).expect("the node is there");
        let came = self::pass(&new, &old, word, &mut child);
        let _ = child.kill();
        let _ = child.wait();
        came
    }
}

fn pass(new: &OwnedFd, old: &OwnedFd, word: &str, child: &mut Child) -> bool {
    loop {
        let mut ready = [PollFd::new(new, PollFlags::IN), PollFd::new(old, PollFlags::IN)];
        poll(&mut ready, None).expect("sockets can be polled");
        let from_new = !ready[0].revents().is_empty();
        let (from, to) = if from_new { (new, old) } else { (old, new) };
        let Some((bytes, file)) = receive(from) else { return false };
        let said: serde_json::Value = serde_json::from_slice(&bytes).expect("a word");
        let is = |value: &serde_json::Value| value == word || value.get(word).is_some();
        if is(&said) {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            return true;
        }
        send(to, &bytes, file.as_ref());
    }
}

fn receive(from: &OwnedFd) -> Option<(Vec<u8>, Option<OwnedFd>)> {
    let (mut bytes, mut space) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let read = recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags).ok()?.bytes;
    let files = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    (read > 0).then(|| (bytes[..read].to_vec(), files))
}

fn send(to: &OwnedFd, bytes: &[u8], file: Option<&OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
    if !files.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&files)));
    }
    // Either may be gone.
    let _ = sendmsg(to, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL);
}

impl Drop for Relay {
    fn drop(&mut self) {
        std::fs::rename(&self.aside, &self.path).expect("the node's socket");
    }
}
