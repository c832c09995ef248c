//! `[acme]` of node.toml, and certificates that are ordered by it (ACME, RFC 8555) in place of being files.

use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use toml::Spanned;
use url::Url;

use super::form;
use super::host::HostPattern;
use super::origin::existing_file;
use super::reader::{Key, Source, Table, Wrong, key};
use super::units;

/// Who issues certificates to this node, and who asks for them.
#[derive(Clone, Debug)]
pub struct Acme {
    /// What the authority can be asked for (RFC 8555 §7.1.1).
    pub directory: Url,
    /// Roots to trust in place of the system's when it is asked, PEM.
    pub certificate_authority: Option<PathBuf>,
    /// Whom it writes to, as `mailto:` URLs.
    pub contact: Vec<String>,
    /// The customer that the account is for, where the authority has customers (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// What passes after a first order that was refused, before the next.
    pub retry: Duration,
}

/// A customer of an authority.
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// Its key identifier.
    pub id: String,
    /// The file with its MAC key, in base64url.
    pub key: PathBuf,
}

/// A certificate that is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedCertificate {
    /// The hosts that it is for, in their canonical form.
    pub names: Vec<String>,
    /// Where it is kept, its key in the same file. It belongs to these names and this directory: others have another file.
    pub file: PathBuf,
}

/// Where nothing is said: that of Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The folder of the store in which certificates are kept.
const FOLDER: &str = "acme";

/// Long enough for the 5 refused validations an hour that Let's Encrypt bears for each name, growing as waits do.
const RETRY: Duration = Duration::from_secs(120);

const DIRECTORY: Key = key("directory", "an https URL", "\"https://acme-v02.api.letsencrypt.org/directory\"");
const AUTHORITY: Key = key("certificate_authority", "the path of a PEM file", "\"ca.pem\"");
const CONTACT: Key = key("contact", "a list of mailto: URLs", "[\"mailto:ops@example.com\"]");
const TERMS: Key = key("terms_of_service", "\"agreed\"", "\"agreed\"");
const EXTERNAL: (&str, &str) = ("external_account", "{ id = \"kid-1\", key = \"eab.key\" }");
const ID: Key = key("id", "a string", "\"kid-1\"");
const MAC_KEY: Key = key("key", "the path of a file", "\"eab.key\"");
const RETRY_AFTER: Key = key("retry", "a time", "\"2m\"");
const NAMES: Key = key("acme", "a list of hosts", "[\"shop.example.com\"]");

/// What certificates of listeners are ordered by.
pub(super) struct Ordering {
    acme: Option<Acme>,
    /// The table, which may have faults.
    table: Option<Range<usize>>,
    store: Option<PathBuf>,
    is_used: Cell<bool>,
}

impl Ordering {
    /// Reads `[acme]`; certificates are kept in the store.
    pub(super) fn read(root: &Table<'_>, store: Option<&Path>) -> Self {
        let table = root.table("acme", "{ terms_of_service = \"agreed\" }");
        let span = table.as_ref().map(Table::span);
        if let Some(table) = &table
            && root.value("store").is_none()
        {
            table.fault(
                "there is no `store`, in which account and certificates are kept",
                "add `store = \"/var/lib/eyot/store\"`",
            );
        }
        let (acme, store) = (table.and_then(|table| read_acme(&table)), store.map(Path::to_owned));
        Self { acme, table: span, store, is_used: Cell::new(false) }
    }

    /// When all listeners have been read.
    pub(super) fn into_acme(self, source: &Source) -> Option<Acme> {
        if let Some(span) = self.table.filter(|_| !self.is_used.get()) {
            let help = "write `tls = { acme = [\"shop.example.com\"] }` below a listener's address, or remove [acme]";
            source.fault(span, "[acme]: no listener orders a certificate by it", help);
        }
        self.acme
    }

    /// The names below `acme`, if that stands in this table of a listener. `Some(None)` only together with a fault.
    pub(super) fn certificate(&self, table: &Table<'_>) -> Option<Option<OrderedCertificate>> {
        let value = table.value(NAMES.name)?;
        self.is_used.set(true);
        for file in ["certificate", "key", "ocsp"] {
            if let Some(value) = table.value(file) {
                let message = format!("`{file}` and `acme` do not go together: a certificate is a file or is ordered");
                table.source.fault(value.span(), message, "leave one of them out");
            }
        }
        if self.table.is_none() {
            let message = "`acme`: nothing says who issues certificates";
            table.source.fault(value.span(), message, "add [acme] with terms_of_service = \"agreed\"");
        }
        let names = table.list_with(NAMES, host)?;
        if let toml::de::DeValue::Array(all) = value.get_ref()
            && all.is_empty()
        {
            table.source.fault(
                value.span(),
                "`acme`: a certificate is for one host at least",
                "name it, or leave it out",
            );
        }
        let mut own: Vec<String> = Vec::new();
        for name in names {
            if own.contains(name.get_ref()) {
                let message = format!("`acme`: {} is there twice", name.get_ref());
                table.source.fault(name.span(), message, "leave one of them out");
            } else {
                own.push(name.into_inner());
            }
        }
        Some(self.acme.as_ref().zip(self.store.as_ref()).filter(|_| !own.is_empty()).map(|(acme, store)| {
            let file = store.join(FOLDER).join(file_name(&acme.directory, &own));
            table.source.names(file.clone(), &value.span());
            OrderedCertificate { names: own, file }
        }))
    }
}

impl Acme {
    /// Every file that is read for it.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.certificate_authority.iter().chain(self.external_account.as_ref().map(|account| &account.key))
    }

    /// The folder of a store in which the account and certificates are kept.
    #[must_use]
    pub fn folder(store: &Path) -> PathBuf {
        store.join(FOLDER)
    }

    /// Where the account is kept that this node has there: each directory has its own.
    #[must_use]
    pub fn account_file(&self, store: &Path) -> PathBuf {
        Self::folder(store).join(format!("account-{}.json", digest([self.directory.as_str()])))
    }
}

/// The first name is for people, the digest for which certificate it is.
fn file_name(directory: &Url, names: &[String]) -> String {
    let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let first = names.first().map(String::as_str).unwrap_or_default();
    format!("{first}-{}.pem", digest([directory.as_str()].into_iter().chain(sorted)))
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    // None of them has a line's end in it.
    let digest =
        parts.into_iter().fold(Sha256::new(), |sha, part| sha.chain_update(part).chain_update("\n")).finalize();
    hex::encode(&digest[..6])
}

fn read_acme(table: &Table<'_>) -> Option<Acme> {
    let directory = table.optional_with(DIRECTORY, |text| {
        let url = form::base_url(text)?;
        match url.scheme() {
            "https" => Ok(url),
            _ => Err(Wrong::new("account and orders go through TLS only", "write an https URL")),
        }
    });
    let has_directory = table.value(DIRECTORY.name).is_some();
    let file = |table: &Table<'_>, key: Key, path| existing_file(table.source, key.name, &path);
    let certificate_authority = table.optional::<String>(AUTHORITY).map(|path| file(table, AUTHORITY, path));
    let contact = table.list_with(CONTACT, contact).into_iter().flatten().map(Spanned::into_inner).collect();
    // Nobody agrees to a contract by leaving a key out.
    let agreed = table.required_with(TERMS, |text| match text {
        "agreed" => Ok(()),
        _ => {
            Err(Wrong::new("an authority issues only to who has agreed to its terms", "read them and write \"agreed\""))
        }
    });
    let external = table.table(EXTERNAL.0, EXTERNAL.1);
    let has_external = external.is_some();
    let external_account = external.and_then(|external| {
        let id = external.required::<String>(ID).map(Spanned::into_inner);
        let key = external.required::<String>(MAC_KEY).map(|path| file(&external, MAC_KEY, path));
        id.zip(key).map(|(id, key)| ExternalAccount { id, key })
    });
    let retry = table.optional_with(RETRY_AFTER, units::positive_time).map(Spanned::into_inner);
    let directory = match (directory, has_directory) {
        (Some(directory), _) => directory.into_inner(),
        (None, true) => return None,
        (None, false) => Url::parse(LETS_ENCRYPT).ok()?,
    };
    if agreed.is_none() || has_external != external_account.is_some() {
        return None;
    }
    let retry = retry.unwrap_or(RETRY);
    Some(Acme { directory, certificate_authority, contact, external_account, retry })
}

fn contact(text: &str) -> Result<String, Wrong> {
    let help = "write, for example, \"mailto:ops@example.com\"";
    let address = text.strip_prefix("mailto:").ok_or_else(|| Wrong::new("this is not a mailto: URL", help))?;
    let is_one = address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    // More than one, and header fields, are refused by authorities (RFC 8555 §7.3).
    match is_one && address.chars().all(|c| c.is_ascii_graphic() && !matches!(c, ',' | '?')) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::new("this is not one address", help)),
    }
}

fn host(text: &str) -> Result<String, Wrong> {
    let help = "write a host such as \"shop.example.com\"";
    match HostPattern::parse(text)? {
        HostPattern::Below(_) => Err(Wrong::new(
            "a wildcard is only issued to who can change the domain's DNS (DNS-01), which this node cannot",
            "list the hosts one by one, or give a certificate and its key as files",
        )),
        HostPattern::Exact(host) if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() => {
            Err(Wrong::new("an address has no name that a certificate could be ordered for", help))
        }
        HostPattern::Exact(host) if !host.contains('.') || host.contains('_') => {
            Err(Wrong::new("no authority issues a certificate for such a name", help))
        }
        HostPattern::Exact(host) => Ok(host.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_one_file_for_its_names_in_any_order_and_another_for_another_directory() {
        let url = |text: &str| Url::parse(text).unwrap();
        let names = |all: &[&str]| -> Vec<String> { all.iter().map(ToString::to_string).collect() };
        let one = url("https://one.test/directory");
        let first = file_name(&one, &names(&["a.test", "b.test"]));
        assert!(first.starts_with("a.test-") && first.ends_with(".pem"), "{first}");
        let digest = |name: &str| name.rsplit_once('-').unwrap().1.to_owned();
        assert_eq!(digest(&first), digest(&file_name(&one, &names(&["b.test", "a.test"]))));
        for other in
            [file_name(&one, &names(&["a.test"])), file_name(&url("https://two.test/"), &names(&["a.test", "b.test"]))]
        {
            assert_ne!(digest(&first), digest(&other));
        }
    }

    #[test]
    fn only_hosts_that_can_be_validated_are_ordered_for() {
        assert_eq!(host("Shop.Example.COM").unwrap(), "shop.example.com");
        assert!(host("*.example.com").unwrap_err().why.contains("DNS-01"));
        for wrong in ["127.0.0.1", "[::1]", "localhost", "my_app.example.com", "a b", ""] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_contact_is_one_address() {
        assert!(contact("mailto:ops@example.com").is_ok());
        for wrong in
            ["ops@example.com", "mailto:", "mailto:@a", "mailto:a@", "mailto:a@b,c@d", "mailto:a@b?subject=x", "tel:1"]
        {
            assert!(contact(wrong).is_err(), "{wrong}");
        }
    }
}
