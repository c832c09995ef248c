//! The ways in for the fuzz targets of `fuzz/`, which are another package: one function for each target. It takes any bytes, and panics
//! where what it claims does not hold.
//!
//! It is there for tests and with the feature `fuzzing`, and is no API. What a target knows of its room stands in the room, in `fuzz.rs`.

pub use crate::activate::fuzz::{component, module};
pub use crate::auth::fuzz::token;
pub use crate::config::fuzz::configuration;
pub use crate::deploy::fuzz::route;
pub use crate::egress::fuzz::destination;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    /// How long each corpus is changed at random. `fuzz/README.md` says how to search for long, and better.
    fn time() -> Duration {
        let seconds = std::env::var("EYOT_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        Duration::from_secs(seconds.unwrap_or(1))
    }

    /// Feeds each file of a corpus to its target, then changed copies of them.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        // A failure should come again.
        paths.sort();
        let corpus: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert!(!corpus.is_empty(), "{} is empty", folder.display());
        for (path, input) in paths.iter().zip(&corpus) {
            let _told = Told(&format!("in {}", path.display()), input);
            target(input);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (began, mut rounds) = (Instant::now(), 0);
        while began.elapsed() < time() {
            let input = random.changed(&corpus);
            let _told = Told("in a changed input", &input);
            target(&input);
            rounds += 1;
        }
        println!("{name}: {} files, {rounds} changed ones", corpus.len());
    }

    /// Says which input it was, if it is dropped by a panic.
    struct Told<'a>(&'a str, &'a [u8]);

    impl Drop for Told<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: \"{}\"", self.0, self.1.escape_ascii());
            }
        }
    }

    /// Marsaglia's xorshift: deterministic, so that what is found is found again.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound.max(1) as u64) as usize
        }

        /// A copy of a file in which pieces are lost, doubled, taken from another file, or are other bytes.
        fn changed(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
            let mut input = corpus[self.below(corpus.len())].clone();
            for _ in 0..=self.below(4) {
                let (from, to) = (self.below(input.len() + 1), self.below(input.len() + 1));
                let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 24));
                let piece = match self.below(4) {
                    0 => Vec::new(),
                    1 => vec![self.below(256) as u8],
                    2 => input[from..to].repeat(2),
                    _ => {
                        let other = &corpus[self.below(corpus.len())];
                        let start = self.below(other.len());
                        let end = other.len().min(start + self.below(24));
                        other[start..end].to_vec()
                    }
                };
                input.splice(from..to, piece);
            }
            input
        }
    }

    #[test]
    fn any_configuration_is_values_or_faults_with_their_places() {
        replay("configuration", super::configuration);
    }

    #[test]
    fn any_route_table_finds_what_the_slow_way_finds() {
        replay("route", super::route);
    }

    #[test]
    fn no_token_is_accepted_that_our_key_did_not_sign() {
        replay("token", super::token);
    }

    #[test]
    fn no_url_leads_where_the_worker_may_not_go() {
        replay("destination", super::destination);
    }

    #[test]
    fn any_component_is_refused_or_runs_and_gives_everything_back() {
        replay("component", super::component);
    }

    #[test]
    fn any_module_runs_and_gives_everything_back() {
        replay("module", super::module);
    }
}
