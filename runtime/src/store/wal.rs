//! The log that SQLite writes before the database (`state.db-wal`), after a process that died.
//!
//! SQLite takes the first frame that is not what was written for the end of the log, since a power cut leaves such a frame in the last
//! transaction. Damage further up would make it forget all that was answered since, without a word. But a transaction begins only when
//! the one before is on the disk, so where two have ended after a broken frame, the first of them was whole once.
//! What cannot be told from a power cut is damage to the last transaction, and to the twelve bytes that end the one before.
//! The form of the file: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// The last bit tells the order of bytes in which sums are made.
const MAGIC: u32 = 0x377f_0682;

/// Where the log of a database lies.
pub(super) fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// What is wrong with the log of a database, if that is more than a power cut leaves.
pub(super) fn damage(database: &Path) -> io::Result<Option<String>> {
    let path = path(database);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut log = BufReader::with_capacity(1 << 16, file);
    let mut head = [0; HEAD];
    if !filled(&mut log, &mut head)? {
        return Ok(None);
    }
    let is_big = word(&head, 0) == MAGIC | 1;
    let mut sum = Sum { is_big, words: (0, 0) };
    sum.add(&head[..24]);
    let page = word(&head, 8) as usize;
    if word(&head, 0) & !1 != MAGIC || !sum.is(&head[24..]) || !(512..=65_536).contains(&page) {
        return Ok(Some(format!("the head of {} is not what was written", path.display())));
    }
    let salts = &head[16..24];
    let mut frame = vec![0; FRAME_HEAD + page];
    let (mut broken, mut ended) = (None, 0);
    for number in 1_u64.. {
        if !filled(&mut log, &mut frame)? {
            break;
        }
        let (begin, content) = frame.split_at(FRAME_HEAD);
        let is_of_this_log = begin[8..16] == *salts;
        if broken.is_none() {
            sum.add(&begin[..8]);
            sum.add(content);
            if !is_of_this_log || !sum.is(&begin[16..]) {
                broken = Some(number);
            }
        }
        let ends_transaction = word(begin, 4) != 0;
        if broken.is_some() && is_of_this_log && ends_transaction {
            ended += 1;
        }
    }
    let told = |frame| format!("frame {frame} of {} is not what was written, and others follow it", path.display());
    Ok(broken.filter(|_| ended > 1).map(told))
}

/// The sum that SQLite makes of heads and frames, each on top of the one before.
struct Sum {
    is_big: bool,
    words: (u32, u32),
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let (mut one, mut two) = self.words;
        for pair in bytes.chunks_exact(8) {
            let of = |at| if self.is_big { word(pair, at) } else { word(pair, at).swap_bytes() };
            one = one.wrapping_add(of(0)).wrapping_add(two);
            two = two.wrapping_add(of(4)).wrapping_add(one);
        }
        self.words = (one, two);
    }

    fn is(&self, written: &[u8]) -> bool {
        self.words == (word(written, 0), word(written, 4))
    }
}

/// The word that begins here, the greatest byte first.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Whether there was enough to fill this. The last frame may be half.
fn filled(log: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
