//! An operator of a node that takes deployments: a token, and the admin API.

use std::path::Path;

use reqwest::blocking::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::{Answer, LISTENERS, Node, client, fixtures};

/// A node with a store, and these lines at the top of its node.toml.
pub fn node(lines: &str) -> Node {
    Node::start(&configuration(lines), &[])
}

/// Its node.toml, without its listeners.
pub fn configuration(lines: &str) -> String {
    format!("store = \"store\"\nstate = \"state\"\n{lines}")
}

/// A node that has a store and nothing else, with all of node.toml.
pub fn whole_configuration(lines: &str) -> String {
    format!("{}\n{LISTENERS}", configuration(lines))
}

/// The first token, as the node has written it.
pub fn first_token(node: &Node) -> String {
    let file = node.folder.path().join("store/admin.token");
    std::fs::read_to_string(file).expect("the first token").trim().to_owned()
}

/// Whoever has a token.
pub struct Operator {
    base: String,
    token: String,
}

impl Operator {
    pub fn first(node: &Node) -> Self {
        Self::with(node, &first_token(node))
    }

    pub fn with(node: &Node, token: &str) -> Self {
        Self::at(node.admin.expect("an admin listener"), token)
    }

    pub fn at(admin: std::net::SocketAddr, token: &str) -> Self {
        Self { base: format!("http://{admin}"), token: token.to_owned() }
    }

    /// Adds a version; `None` where no answer came.
    pub fn try_upload(&self, worker: &str, manifest: &str, component: &Path) -> Option<Answer> {
        Answer::try_of(self.upload(worker, manifest, component))
    }

    /// `None` where no answer came.
    pub fn try_send(&self, method: &str, path: &str, body: &Value) -> Option<Answer> {
        let request = self.request(method, path).header("content-type", "application/json");
        Answer::try_of(request.body(body.to_string()))
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::blocking::RequestBuilder {
        let method = method.parse().expect("a method");
        client().request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    pub fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path))
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path).header("content-type", "application/json");
        Answer::of(request.body(body.to_string()))
    }

    /// Adds a version of a worker.
    pub fn add(&self, worker: &str, manifest: &str, component: &Path) -> Answer {
        Answer::of(self.upload(worker, manifest, component))
    }

    pub fn upload(&self, worker: &str, manifest: &str, component: &Path) -> reqwest::blocking::RequestBuilder {
        let component = std::fs::read(component).expect("a component");
        let form = Form::new().text("manifest", manifest.to_owned()).part("component", Part::bytes(component));
        self.request("POST", &format!("/v1/workers/{worker}/versions")).multipart(form)
    }

    /// Adds a version of a worker whose `/config?key=is` answers this, and gives its number.
    pub fn version(&self, worker: &str, is: &str) -> u64 {
        self.version_with(worker, is, "")
    }

    /// The same with further lines below the first ones of its eyot.toml.
    pub fn version_with(&self, worker: &str, is: &str, lines: &str) -> u64 {
        let answer = self.add(worker, &manifest(worker, is, lines), &fixtures::fixture());
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["version"].as_u64().expect("a number")
    }

    /// Has these versions serve, with shares in percent.
    pub fn deploy(&self, worker: &str, versions: &[(u64, f64)]) -> Answer {
        let versions: Vec<_> =
            versions.iter().map(|(version, percent)| json!({ "version": version, "percent": percent })).collect();
        self.send("POST", &format!("/v1/workers/{worker}/deployments"), &json!({ "versions": versions }))
    }

    /// Has one version serve.
    pub fn serve(&self, worker: &str, version: u64) {
        let answer = self.deploy(worker, &[(version, 100.0)]);
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
}

/// The eyot.toml of a worker at `NAME.example`.
pub fn manifest(worker: &str, is: &str, lines: &str) -> String {
    format!("name = \"{worker}\"\n{lines}\n[[route]]\nhost = \"{worker}.example\"\n[config]\nis = \"{is}\"\n")
}

/// Which version answers.
pub fn asked(node: &Node, worker: &str) -> String {
    let answer = node.get_from(&format!("{worker}.example"), "/config?key=is");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json().as_str().expect("a text").to_owned()
}
