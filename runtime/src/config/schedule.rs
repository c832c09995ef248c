//! `[[schedule]]` of eyot.toml: what a worker does at times, and when.

use std::str::FromStr;

use croner::Cron;
use jiff::Timestamp;
use toml::Spanned;

use super::form;
use super::reader::{Key, Table, Wrong, key};

/// What a worker does at times.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// How the worker calls it.
    pub name: String,
    /// At which times.
    pub when: When,
    /// What happens when it is due and the run before has not ended.
    pub overlap: Overlap,
    /// What happens to times at which the node was down.
    pub catch_up: CatchUp,
}

/// At which times something is due.
#[derive(Clone, Debug)]
pub enum When {
    /// By an expression of cron, in a time zone.
    Cron(Box<Recurring>),
    /// Once.
    At(Timestamp),
}

/// An expression of cron, in a time zone.
#[derive(Clone, Debug)]
pub struct Recurring {
    expression: String,
    zone_name: String,
    cron: Cron,
    zone: jiff02::tz::TimeZone,
}

/// What happens when something is due and the run before has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It begins when that has ended.
    Queue,
    /// Both run.
    Allow,
}

/// What happens to times at which the node was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// They are left out.
    None,
    /// The latest of them is made up for.
    #[default]
    Latest,
    /// Each of them is made up for, the latest hundred at most.
    All,
}

const NAME: Key = key("name", "a name", "\"nightly\"");
const CRON: Key = key("cron", "an expression of cron", "\"0 3 * * *\"");
const AT: Key = key("at", "a time with its offset or zone", "\"2027-01-01T00:00:00+01:00\"");
const ZONE: Key = key("time_zone", "a name of the time zone database", "\"Europe/Berlin\"");
const OVERLAP: Key = key("overlap", "\"skip\", \"queue\" or \"allow\"", "\"skip\"");
const CATCH_UP: Key = key("catch_up", "\"none\", \"latest\" or \"all\"", "\"latest\"");

impl When {
    /// The first time after this one, if there is one.
    #[must_use]
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(at) => (*at > time).then_some(*at),
            Self::Cron(recurring) => recurring.after(time),
        }
    }

    /// The last time before this one, if there is one.
    #[must_use]
    pub fn before(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(at) => (*at < time).then_some(*at),
            Self::Cron(recurring) => recurring.before(time),
        }
    }
}

/// As it was written; what differs in this is another schedule.
impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(at) => write!(f, "at {at}"),
            Self::Cron(recurring) => write!(f, "{} {}", recurring.expression, recurring.zone_name),
        }
    }
}

impl Recurring {
    /// In a gap of the clock what falls into it is due right behind it, once. When the clock is put back, a fixed time is due once, at its
    /// first passing, and what recurs within the hour goes on recurring, as cron of Vixie does.
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        time_of(&self.cron.find_next_occurrence(&self.zoned(time)?, false).ok()?)
    }

    fn before(&self, time: Timestamp) -> Option<Timestamp> {
        time_of(&self.cron.find_previous_occurrence(&self.zoned(time)?, false).ok()?)
    }

    fn zoned(&self, time: Timestamp) -> Option<jiff02::Zoned> {
        Some(jiff02::Timestamp::from_microsecond(time.as_microsecond()).ok()?.to_zoned(self.zone.clone()))
    }
}

fn time_of(zoned: &jiff02::Zoned) -> Option<Timestamp> {
    Timestamp::from_microsecond(zoned.timestamp().as_microsecond()).ok()
}

/// All schedules of a worker, each name once.
pub(super) fn read_schedules(root: &Table<'_>) -> Vec<Schedule> {
    let mut schedules: Vec<Schedule> = Vec::new();
    for table in root.tables("schedule") {
        let Some((name, schedule)) = read_schedule(&table) else { continue };
        match schedules.iter().any(|other| other.name == schedule.name) {
            true => {
                let message = format!("there are two [[schedule]] with the name `{}`", schedule.name);
                table.source.fault(name, message, "give one of them another name");
            }
            false => schedules.push(schedule),
        }
    }
    schedules
}

fn read_schedule(table: &Table<'_>) -> Option<(std::ops::Range<usize>, Schedule)> {
    let name = table.required_with(NAME, form::name);
    let zone = table.optional_with(ZONE, zone);
    let is_zoned = table.value(ZONE.name).is_some();
    let (zone_name, zone) = zone.map_or_else(|| ("UTC".to_owned(), jiff02::tz::TimeZone::UTC), Spanned::into_inner);
    let in_zone = |text: &str| cron(text, &zone_name, &zone);
    let (cron, at) = (table.optional_with(CRON, in_zone), table.optional_with(AT, at));
    let overlap = table.optional_with(OVERLAP, overlap).map(Spanned::into_inner).unwrap_or_default();
    let catch_up = table.optional_with(CATCH_UP, catch_up).map(Spanned::into_inner).unwrap_or_default();
    let when = match (cron, at) {
        (Some(cron), None) => When::Cron(Box::new(cron.into_inner())),
        (None, Some(at)) => {
            if is_zoned {
                table.fault("`at` has its offset or zone itself", "remove `time_zone`");
            }
            When::At(at.into_inner())
        }
        (Some(_), Some(at)) => {
            table.source.fault(at.span(), "a schedule has either `cron` or `at`", "remove one of the two");
            return None;
        }
        (None, None) => {
            if table.has_none(CRON.name) && table.has_none(AT.name) {
                table.fault("a schedule needs a time", "write `cron = \"0 3 * * *\"`, or `at`");
            }
            return None;
        }
    };
    let name = name?;
    Some((name.span(), Schedule { name: name.get_ref().clone(), when, overlap, catch_up }))
}

fn zone(name: &str) -> Result<(String, jiff02::tz::TimeZone), Wrong> {
    let zone = jiff02::tz::TimeZone::get(name);
    let wrong =
        |_| Wrong::new("there is no time zone of this name", "write, for example, \"Europe/Berlin\" or \"UTC\"");
    Ok((name.to_owned(), zone.map_err(wrong)?))
}

fn cron(text: &str, zone_name: &str, zone: &jiff02::tz::TimeZone) -> Result<Recurring, Wrong> {
    let help = "write minute, hour, day, month and day of the week: \"0 3 * * *\"; with seconds before them: \"*/10 * * * * *\"";
    if text.split_whitespace().count() > 6 {
        return Err(Wrong::new("it has more than six fields", help));
    }
    let cron =
        Cron::from_str(text).map_err(|error| Wrong::new(format!("this is no expression of cron: {error}"), help))?;
    let (expression, zone_name, zone) = (text.to_owned(), zone_name.to_owned(), zone.clone());
    let recurring = Recurring { expression, zone_name, cron, zone };
    match recurring.after(Timestamp::now()) {
        Some(_) => Ok(recurring),
        None => Err(Wrong::new("it is never due", help)),
    }
}

fn at(text: &str) -> Result<Timestamp, Wrong> {
    let help = "write, for example, \"2027-01-01T00:00:00+01:00\" or \"2027-01-01T00:00:00[Europe/Berlin]\"";
    let microseconds = match text.parse::<Timestamp>() {
        Ok(time) => time.as_microsecond(),
        Err(_) => {
            let zoned = text.parse::<jiff02::Zoned>();
            let zoned = zoned.map_err(|error| Wrong::new(format!("this is no time: {error}"), help))?;
            zoned.timestamp().as_microsecond()
        }
    };
    // As it is written down: what lies between two microseconds would be due after itself.
    Timestamp::from_microsecond(microseconds).map_err(|error| Wrong::new(error.to_string(), help))
}

fn overlap(text: &str) -> Result<Overlap, Wrong> {
    match text {
        "skip" => Ok(Overlap::Skip),
        "queue" => Ok(Overlap::Queue),
        "allow" => Ok(Overlap::Allow),
        _ => Err(Wrong::new(
            "what is due while it runs is left out, waits, or runs too",
            "write \"skip\", \"queue\" or \"allow\"",
        )),
    }
}

fn catch_up(text: &str) -> Result<CatchUp, Wrong> {
    match text {
        "none" => Ok(CatchUp::None),
        "latest" => Ok(CatchUp::Latest),
        "all" => Ok(CatchUp::All),
        _ => Err(Wrong::new(
            "of what was missed, nothing, the latest or all is made up for",
            "write \"none\", \"latest\" or \"all\"",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next times after this one, as the clock on the wall shows them.
    fn next(expression: &str, name: &str, from: &str, count: usize) -> Vec<String> {
        let (name, zone) = zone(name).unwrap();
        let recurring = cron(expression, &name, &zone).unwrap();
        let mut time: Timestamp = from.parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            time = recurring.after(time).unwrap();
            let shown = jiff02::Timestamp::from_microsecond(time.as_microsecond()).unwrap().to_zoned(zone.clone());
            found.push(shown.strftime("%m-%d %H:%M:%S%:z").to_string());
        }
        found
    }

    #[test]
    fn five_fields_are_minutes_and_six_have_seconds() {
        assert_eq!(next("0 3 * * 1", "UTC", "2026-11-29T12:00:00Z", 1), ["11-30 03:00:00+00:00"]);
        assert_eq!(
            next("*/20 * * * * *", "UTC", "2026-11-29T12:00:01Z", 2),
            ["11-29 12:00:20+00:00", "11-29 12:00:40+00:00"]
        );
        assert_eq!(next("0 0 29 2 *", "UTC", "2026-11-29T12:00:00Z", 1), ["02-29 00:00:00+00:00"]);
        for wrong in ["", "* * * *", "60 * * * *", "*/0 * * * *", "0 0 0 * * * 2027", "0 0 30 2 *", "soon"] {
            assert!(cron(wrong, "UTC", &jiff02::tz::TimeZone::UTC).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_due_before_is_found_backwards() {
        let recurring = cron("*/10 * * * * *", "UTC", &jiff02::tz::TimeZone::UTC).unwrap();
        let now: Timestamp = "2026-11-29T12:00:05.5Z".parse().unwrap();
        let last = recurring.before(now).unwrap();
        assert_eq!(last.to_string(), "2026-11-29T12:00:00Z");
        assert_eq!(recurring.before(last).unwrap().to_string(), "2026-11-29T11:59:50Z");
        assert_eq!(recurring.after(recurring.before(last).unwrap()), Some(last));
    }

    #[test]
    fn when_the_clock_is_put_forward_what_falls_into_the_gap_is_due_behind_it_once() {
        let fixed = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(fixed, ["03-29 03:00:00+02:00", "03-30 02:30:00+02:00"]);
        let recurring = next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3);
        assert_eq!(recurring, ["03-29 01:30:00+01:00", "03-29 03:00:00+02:00", "03-29 03:30:00+02:00"]);
    }

    #[test]
    fn when_the_clock_is_put_back_a_fixed_time_is_due_once_and_what_recurs_goes_on() {
        let fixed = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(fixed, ["10-25 02:30:00+02:00", "10-26 02:30:00+01:00"]);
        let recurring = next("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 4);
        let expected = ["10-25 02:00:00+02:00", "10-25 02:30:00+02:00", "10-25 02:00:00+01:00", "10-25 02:30:00+01:00"];
        assert_eq!(recurring, expected);
    }

    #[test]
    fn a_time_has_its_offset_or_its_zone() {
        let expected = "2026-12-31T23:00:00Z".parse().unwrap();
        for same in ["2027-01-01T00:00:00+01:00", "2026-12-31T23:00:00Z", "2027-01-01T00:00:00[Europe/Berlin]"] {
            assert_eq!(at(same), Ok(expected), "{same}");
        }
        for wrong in ["2027-01-01T00:00:00", "2027-01-01", "tomorrow", "2027-02-30T00:00:00Z"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
        let fine = at("2027-01-01T00:00:00.123456789Z").unwrap();
        assert_eq!(When::At(fine).after(Timestamp::from_microsecond(fine.as_microsecond()).unwrap()), None);
        let once = When::At(expected);
        assert_eq!(once.after(Timestamp::UNIX_EPOCH), Some(expected));
        assert_eq!(once.after(expected), None);
    }
}
