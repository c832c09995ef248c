//! What the versions of a worker have of its requests, in percent.

use std::str::FromStr;

use crate::admin::api::shapes::Share;

/// All of it, in hundredths of a percent.
const ALL: u32 = 10_000;

/// A share as it is written: `10%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Percent(u32);

impl Percent {
    /// Everything.
    pub(in crate::cli) fn is_all(self) -> bool {
        self.0 == ALL
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let help = || "write 0.01% to 100%, in hundredths, such as 10%".to_owned();
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(help());
        }
        let parse = |text: &str| text.parse::<u32>().map_err(|_| help());
        let part = parse(part)? * if part.len() == 1 { 10 } else { 1 };
        match parse(whole)? * 100 + part {
            points @ 1..=ALL => Ok(Self(points)),
            _ => Err(help()),
        }
    }
}

/// This version with so much; the others that serve share the rest in the proportion that they have. `None` where there are none.
pub(in crate::cli) fn with(serving: &[Share], version: u32, percent: Percent) -> Option<Vec<Share>> {
    let own = Share { version, percent: f64::from(percent.0) / 100.0 };
    if percent.is_all() {
        return Some(vec![own]);
    }
    let points = |share: &Share| (share.percent * 100.0).round() as u32;
    let others: Vec<(u32, u32)> =
        serving.iter().filter(|share| share.version != version).map(|share| (share.version, points(share))).collect();
    let whole: u32 = others.iter().map(|(_, points)| points).sum();
    if whole == 0 {
        return None;
    }
    // Each by what all up to it have, so that what is rounded comes to all of the rest.
    let rest = ALL - percent.0;
    let upto = |sum: u32| (u64::from(rest) * u64::from(sum) + u64::from(whole) / 2) / u64::from(whole);
    let (mut shares, mut sum) = (vec![own], 0);
    for (version, points) in others {
        let share = upto(sum + points) - upto(sum);
        sum += points;
        // What has less than a hundredth has nothing.
        if share > 0 {
            shares.push(Share { version, percent: share as f64 / 100.0 });
        }
    }
    shares.sort_by_key(|share| share.version);
    Some(shares)
}

/// As a sentence: `version 2 (90%) and version 3 (10%) serve`.
pub(in crate::cli) fn serves(shares: &[Share]) -> String {
    let named: Vec<_> = shares.iter().map(|share| format!("version {} ({}%)", share.version, share.percent)).collect();
    match (shares, named.split_last()) {
        ([one], _) => format!("version {} serves", one.version),
        (_, Some((last, others))) => format!("{} and {last} serve", others.join(", ")),
        (_, None) => "nothing serves".to_owned(),
    }
}

/// As a cell of a table: `2 90%, 3 10%`.
pub(in crate::cli) fn shown(shares: &[Share]) -> String {
    let each = shares.iter().map(|share| format!("{} {}%", share.version, share.percent));
    if shares.is_empty() { "nothing".to_owned() } else { each.collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(version: u32, percent: f64) -> Share {
        Share { version, percent }
    }

    #[test]
    fn a_share_is_written_in_percent_to_a_hundredth() {
        for (text, points) in [("10%", 1000), ("10", 1000), ("0.01%", 1), ("12.5%", 1250), ("100%", 10_000)] {
            assert_eq!(text.parse(), Ok(Percent(points)), "{text}");
        }
        for wrong in ["", "%", "0", "0%", "100.01%", "101%", "-1%", "1.001%", "1e1", "ten", "10%%", "１%"] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn those_that_serve_share_the_rest_in_proportion_and_all_come_to_100() {
        let serving = [share(1, 33.33), share(2, 33.33), share(3, 33.34)];
        for points in [1, 7, 1000, 3333, 9999] {
            let shares = with(&serving, 4, Percent(points)).unwrap();
            let sum: f64 = shares.iter().map(|share| (share.percent * 100.0).round()).sum();
            assert_eq!(sum, 10_000.0, "{shares:?}");
        }
        assert_eq!(with(&[share(1, 100.0)], 2, Percent(1000)), Some(vec![share(1, 90.0), share(2, 10.0)]));
        assert_eq!(
            with(&[share(1, 50.0), share(2, 50.0)], 2, Percent(2000)),
            Some(vec![share(1, 80.0), share(2, 20.0)])
        );
    }

    #[test]
    fn all_of_it_leaves_nothing_to_others_and_a_part_needs_others() {
        assert_eq!(with(&[share(1, 100.0)], 2, Percent(ALL)), Some(vec![share(2, 100.0)]));
        assert_eq!(with(&[], 1, Percent(1000)), None);
        assert_eq!(with(&[share(1, 100.0)], 1, Percent(1000)), None);
    }
}
