//! JSON Schemas (draft 2020-12) of node.toml and of a worker's eyot.toml, for editors. `runtime/schemas` has them as files.
//!
//! These types are read by nobody: they say what the readers of this room take. A test holds both to each other, key by key. What no
//! schema can say (two routes for one path, a file that is not there) is for `eyot check`.

mod node;
mod parts;
mod worker;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};

/// The files that there are schemas of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Described {
    /// node.toml
    Node,
    /// A worker's eyot.toml.
    Worker,
}

impl Described {
    /// Its schema.
    #[must_use]
    pub fn schema(self) -> Schema {
        match self {
            Self::Node => schema::<node::Node>("node.toml"),
            Self::Worker => schema::<worker::Worker>("eyot.toml"),
        }
    }

    /// The same as text, as it is published.
    #[must_use]
    pub fn text(self) -> String {
        format!("{:#}\n", self.schema().as_value())
    }
}

fn schema<T: JsonSchema>(title: &str) -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let settings = settings.with_transform(RecursiveTransform(without_null));
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema
}

/// TOML has no null: a key is left out.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(serde_json::Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if object.get("default").is_some_and(serde_json::Value::is_null) {
        object.remove("default");
    }
    let Some(serde_json::Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    if let [serde_json::Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        // What is said of the key comes before what is said of its type.
        only.into_iter().for_each(|(key, value)| _ = object.entry(key).or_insert(value));
    }
}

#[cfg(test)]
mod tests;
