//! What two processes say to each other, and how: one word in each packet of a unix socket, some with an open file.
//!
//! ```text
//! new: hello             old: the claim, each socket, all
//! new: give              old: closes its state; given
//! new: opens it; ready   old: go
//! new: serves; done      old: tells systemd; bye; drains
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recvmsg, sendmsg, socket_with,
};
use rustix::process::{PidfdFlags, getuid, pidfd_open};
use serde::{Deserialize, Serialize};

/// Grows when an old process could no longer understand a new one.
pub(super) const PROTOCOL: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// I would like to serve in your place.
    Hello { protocol: u32, version: String },
    /// The lock of the state folder comes with this.
    Claim { version: String },
    /// A listening socket comes with this; the address is that of the configuration.
    Socket { configured: SocketAddr },
    /// That were all sockets.
    All,
    /// Let go of your state.
    Give,
    /// Nobody has it.
    Given,
    /// I have it, and could serve.
    Ready,
    /// Then do.
    Go,
    /// I do.
    Done,
    /// I take nothing more.
    Bye,
    /// No, and I serve on.
    Refused { why: String },
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    Word(Word, Option<OwnedFd>),
    /// The other side has closed, or its process has ended.
    Gone,
    /// Nothing within the time.
    Nothing,
}

/// One side of a conversation.
#[derive(Debug)]
pub(super) struct Line(OwnedFd);

/// No word is longer, in bytes.
const LONGEST: usize = 4096;

/// The other side takes a word at once, or has come to a halt.
const SEND: Duration = Duration::from_secs(5);

impl Line {
    /// Reaches whoever waits there.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let socket = socket()?;
        let (_folder, address) = address(path)?;
        connect(&socket, &address)?;
        Ok(Self(socket))
    }

    /// Both ends.
    #[cfg(test)]
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        use rustix::net::socketpair;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), Self(other)))
    }

    pub(super) fn say(&self, word: &Word) -> io::Result<()> {
        self.send(word, &[])
    }

    pub(super) fn pass(&self, word: &Word, file: BorrowedFd<'_>) -> io::Result<()> {
        self.send(word, &[file])
    }

    fn send(&self, word: &Word, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(word)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(files));
        }
        set_socket_timeout(&self.0, Timeout::Send, Some(SEND))?;
        let sent = again(|| sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL))?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// The next word, if it comes within this time; `None` waits for ever.
    pub(super) fn hear(&self, patience: Option<Duration>) -> io::Result<Heard> {
        set_socket_timeout(&self.0, Timeout::Recv, patience)?;
        let mut bytes = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = match again(|| recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)) {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Ok(Heard::Nothing),
            Err(Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN) => return Ok(Heard::Gone),
            Err(error) => return Err(error.into()),
        };
        let mut file = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut files) = message {
                file = files.next();
            }
        }
        if received.bytes == 0 {
            return Ok(Heard::Gone);
        }
        let is_cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        match serde_json::from_slice(&bytes[..received.bytes]) {
            Ok(word) if !is_cut => Ok(Heard::Word(word, file)),
            _ => Err(io::Error::other("it speaks otherwise than this version of Eyot")),
        }
    }

    /// The other side's process, as the kernel knows it, and what tells when it ends.
    pub(super) fn process(&self) -> io::Result<(u32, OwnedFd)> {
        let process = socket_peercred(&self.0)?.pid;
        Ok((process.as_raw_nonzero().get().unsigned_abs(), pidfd_open(process, PidfdFlags::empty())?))
    }

    /// Whether the other side is this user's, or root's.
    pub(super) fn is_ours(&self) -> io::Result<bool> {
        let user = socket_peercred(&self.0)?.uid;
        Ok(user == getuid() || user.is_root())
    }
}

/// Where conversations begin.
#[derive(Debug)]
pub(super) struct Door(OwnedFd);

impl Door {
    /// Waits at this path, for this user alone. What is left of another process there goes away, so whoever calls has the claim.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let door = socket()?;
        // The file gets the socket's own mode.
        fchmod(&door, Mode::RUSR | Mode::WUSR)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (_folder, address) = address(path)?;
        bind(&door, &address)?;
        listen(&door, 4)?;
        Ok(Self(door))
    }

    pub(super) fn next(&self) -> io::Result<Line> {
        Ok(Line(again(|| accept_with(&self.0, SocketFlags::CLOEXEC))?))
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// A socket's address has room for 107 bytes (unix(7)). A longer path is reached by its folder, which stays open meanwhile.
fn address(path: &Path) -> io::Result<(Option<OwnedFd>, SocketAddrUnix)> {
    match SocketAddrUnix::new(path) {
        Err(Errno::NAMETOOLONG) => {}
        address => return Ok((None, address?)),
    }
    use std::os::fd::AsRawFd;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let folder = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd())).join(name);
    let address = SocketAddrUnix::new(&short)?;
    Ok((Some(folder), address))
}

/// A signal is no reason to stop.
fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
