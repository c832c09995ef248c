//! How one limit stands in a file: its value with its unit, and its row.

use toml::Spanned;
use toml::de::DeValue;

use super::limit_table::{LimitOverride, LimitRow, Source};
use super::limits::{Kind, Scope, Shape, Value, shape};
use super::phrase::found;
use super::reader::{Key, Source as File, Table, Wrong, key};
use super::units;

/// The values that a worker's `[limits]` sets; whether it may set them is for [`LimitTable::worker_limits`] to say.
pub(super) fn read_overrides(table: Table<'_>) -> Vec<LimitOverride> {
    let file = table.source;
    let mut overrides = Vec::new();
    for (name, value) in table.take_entries() {
        let (own, at) = match shape(name.get_ref()) {
            Some(shape) => (read_value(file, shape, shape.key, value), value.span()),
            // An unknown key is passed on with any value, for its fault is reported with those of the other keys.
            None => (Some(Value::Off), name.span()),
        };
        let place = file.place(at.start);
        overrides.extend(own.map(|value| LimitOverride { key: name.get_ref().to_string(), value, place }));
    }
    overrides
}

const CODE: Key = key("code", "a string", "\"overloaded\"");
const SCOPE: Key = key("scope", "node, connection, worker, invocation or origin", "\"worker\"");
const WHY: Key = key("why", "a string", "\"…\"");
const SOURCE: Key = key("source", "a string", "\"…\"");

pub(super) fn read_row(table: &Table<'_>, shape: &Shape) -> Option<LimitRow> {
    let value = |name| table.value(name).and_then(|value| read_value(table.source, shape, name, value));
    let text = |key| table.required::<String>(key).map(Spanned::into_inner);
    let (default, max) = (value("default"), value("max"));
    if default.is_none() {
        table.fault("`default` is missing or wrong", format!("write {}", example(shape)));
    }
    let scope = table.required::<Scope>(SCOPE)?.into_inner();
    if scope.is_of_worker() && max.is_none() {
        table.fault("`max` is missing", "workers have a say in this limit: write how far they may go");
    }
    if let (Some(default), Some(max)) = (default, max)
        && !default.is_within(max)
    {
        table.fault("the default is past the max", "raise the max");
    }
    let (code, why, reference) = (text(CODE)?, text(WHY)?, text(SOURCE)?);
    let (source, max_source) = (Source::BuiltIn, Source::BuiltIn);
    let (key, kind) = (shape.key.to_owned(), shape.kind);
    Some(LimitRow { key, kind, default: default?, max, scope, code, why, reference, source, max_source })
}

/// A row of its own: `default` and `max`; the rest may stand there as in limits.toml, so that a copy of it can be used.
pub(super) fn override_row(
    row: &mut LimitRow,
    shape: &Shape,
    file: &File,
    value: &Spanned<DeValue<'_>>,
    source: &Source,
) {
    let DeValue::Table(entries) = value.get_ref() else { return };
    let entries = Spanned::new(value.span(), entries.clone());
    let table = Table::new(file, &entries, &format!("[{}]", shape.key));
    let read = |name| table.value(name).and_then(|value| read_value(file, shape, name, value));
    let (default, max) = (read("default"), read("max"));
    if let Some(default) = default {
        row.default = default;
        row.source = source.clone();
    }
    match (max, table.value("max")) {
        (_, Some(value)) if !row.scope.is_of_worker() && (max.is_none() || max != row.max) => {
            let message = match row.max {
                None => format!("`{}` has no max: workers have no say in it", shape.key),
                Some(max) => format!("the max of `{}` is what a node can do, {max}, and cannot be changed", shape.key),
            };
            file.fault(value.span(), message, format!("set the value alone: {} = {}", shape.key, example(shape)));
        }
        (Some(max), _) => {
            row.max = Some(max);
            row.max_source = source.clone();
        }
        _ => {}
    }
    for (key, own) in [(SCOPE, row.scope.as_str()), (CODE, &row.code)] {
        table.optional_with(key, |text| match text == own {
            true => Ok(()),
            false => Err(Wrong::new(
                "this belongs to the limit and cannot be changed",
                format!("leave it out: it is \"{own}\""),
            )),
        });
    }
    let (why, reference) = (table.optional::<String>(WHY), table.optional::<String>(SOURCE));
    if let Some(why) = why {
        row.why = why.into_inner();
    }
    if let Some(reference) = reference {
        row.reference = reference.into_inner();
    }
}

pub(super) fn read_value(file: &File, shape: &Shape, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Value> {
    let read = match (shape.kind, value.get_ref()) {
        (_, DeValue::String(text)) if text == "off" => match shape.may_be_off {
            true => Ok(Value::Off),
            false => Err(Wrong::new("this limit cannot be switched off", format!("write {}", example(shape)))),
        },
        (Kind::Bytes, DeValue::String(text)) => units::bytes(text).map(Value::Bytes),
        (Kind::Time, DeValue::String(text)) => units::time(text).map(Value::Time),
        (Kind::Count, DeValue::Integer(number)) => match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(Value::Count(number)),
            Err(_) => Err(Wrong::new("a count is a whole number from 0", format!("write {}", example(shape)))),
        },
        (kind, _) => {
            let what = match kind {
                Kind::Bytes => "a size with its unit, in quotes",
                Kind::Time => "a time with its unit, in quotes",
                Kind::Count => "a whole number, without quotes and unit",
            };
            let help = format!("write, for example, `{name} = {}`", example(shape));
            file.fault(value.span(), format!("`{name}` must be {what}, not {}", found(value)), help);
            return None;
        }
    };
    let read = read.and_then(|read| match read.is_zero() && !shape.may_be_zero {
        true => Err(Wrong::new("0 would let nothing through", format!("write {}", example(shape)))),
        false => Ok(read),
    });
    match read {
        Ok(value) => Some(value),
        Err(wrong) => {
            file.fault(value.span(), format!("bad `{name}`, {}: {}", found(value), wrong.why), wrong.help);
            None
        }
    }
}

pub(super) fn example(shape: &Shape) -> &'static str {
    match (shape.kind, shape.may_be_off) {
        (Kind::Bytes, _) => "\"128MiB\"",
        (Kind::Time, false) => "\"30s\"",
        (Kind::Time, true) => "\"30s\" or \"off\"",
        (Kind::Count, _) => "100",
    }
}
