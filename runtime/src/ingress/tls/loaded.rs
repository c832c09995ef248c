//! The certificates of a listener, as they were read: which of them are there, and which one a handshake gets.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::{ServerConfig, SignatureAlgorithm};

use super::clients::Clients;
use super::names::{Clash, Names};
use super::presented::{Presented, Shown};
use super::{H2, certificate, files, provider};
use crate::config::{Certificate, Diagnostic, Diagnostics, ListenerTls, Place};

/// So many sessions of clients that take no tickets are remembered, the newest; with client certificates in them that is 4 MiB.
const SESSIONS: usize = 1024;

/// All that was read, complete.
#[derive(Debug)]
pub(super) struct Loaded {
    /// In the order of the configuration; `None`: it is ordered, and not there yet.
    shown: Vec<Option<Arc<Shown>>>,
    /// Those that are there, in the same order.
    pub(super) presented: Vec<Presented>,
    names: Names,
    /// The names of those that are not.
    awaited: HashSet<String>,
    pub(super) clients: Option<Arc<Clients>>,
    pub(super) resumption: Resumption,
    pub(super) warnings: Vec<Diagnostic>,
}

/// What sessions are resumed by. It outlives the certificates: a client that comes again need not notice that they are new ones.
#[derive(Clone, Debug)]
pub(super) struct Resumption {
    /// For clients that keep a session themselves: its keys are new every six hours, and good for twelve.
    pub(super) tickets: Arc<dyn ProducesTickets>,
    /// For clients of TLS 1.2 that do not.
    sessions: Arc<dyn StoresServerSessions>,
}

impl Loaded {
    pub(super) fn read(files: &ListenerTls, before: Option<&Self>) -> Result<Self, Diagnostics> {
        let provider = provider();
        let mut faults = Vec::new();
        let clients = files.clients.as_ref().map(|clients| Clients::read(clients, &provider).map(Arc::new)).transpose();
        let clients = clients.map_err(|fault| faults.push(fault)).ok().flatten();
        let (mut shown, mut warnings) = (Vec::new(), Vec::new());
        for (index, one) in files.certificates.iter().enumerate() {
            let in_use = || before.and_then(|before| before.shown.get(index).cloned().flatten());
            let read = match one {
                Certificate::Files(files) => Shown::read(files, &provider).map(|shown| Some(Arc::new(shown))),
                // What was kept and is of no use any more is ordered anew, and is nobody's fault. What is in use stays until then.
                Certificate::Ordered(ordered) => Ok(match Shown::kept(ordered, &provider) {
                    Ok(kept) => kept.map(Arc::new).or_else(in_use),
                    Err(Diagnostics(why)) => {
                        warnings.extend(why);
                        in_use()
                    }
                }),
            };
            match read {
                Ok(read) => shown.push(read),
                Err(Diagnostics(more)) => faults.extend(more),
            }
        }
        match faults.is_empty() {
            true => Self::of(files, shown, clients, before, warnings),
            false => Err(Diagnostics(faults)),
        }
    }

    /// The same with this ordered certificate as it is kept now.
    pub(super) fn with_ordered(&self, files: &ListenerTls, file: &Path) -> Result<Option<Self>, Diagnostics> {
        let (provider, mut shown, mut is_ours) = (provider(), self.shown.clone(), false);
        for (one, shown) in files.certificates.iter().zip(&mut shown) {
            if let Certificate::Ordered(ordered) = one
                && ordered.file == file
            {
                *shown = Shown::kept(ordered, &provider)?.map(Arc::new);
                is_ours = true;
            }
        }
        is_ours.then(|| Self::of(files, shown, self.clients.clone(), Some(self), Vec::new())).transpose()
    }

    fn of(
        files: &ListenerTls,
        shown: Vec<Option<Arc<Shown>>>,
        clients: Option<Arc<Clients>>,
        before: Option<&Self>,
        mut warnings: Vec<Diagnostic>,
    ) -> Result<Self, Diagnostics> {
        let claims: Vec<Claim<'_>> = files.certificates.iter().zip(&shown).map(Claim::of).collect();
        let clashes = Names::of(claims.iter().map(|claim| (claim.names, claim.algorithm))).1;
        if !clashes.is_empty() {
            return Err(Diagnostics(clashes.iter().map(|clash| twice(&claims, clash)).collect()));
        }
        let there = || shown.iter().flatten();
        let (names, _) = Names::of(there().map(|one| (&*one.facts.names, one.algorithm())));
        let missing = claims.iter().zip(&shown).filter(|(_, shown)| shown.is_none());
        let awaited = missing.flat_map(|(claim, _)| claim.names.iter().cloned()).collect();
        let now = certificate::now();
        let files_shown = files.certificates.iter().zip(&shown).filter(|(one, _)| matches!(one, Certificate::Files(_)));
        warnings.extend(files_shown.flat_map(|(_, shown)| shown).flat_map(|one| one.warnings(now)));
        warnings.extend(clients.iter().flat_map(|clients| clients.warnings(now)));
        warnings.extend(there().skip(1).filter(|one| one.facts.names.is_empty()).map(|one| one.nameless()));
        let provider = provider();
        let resumption = Resumption::after(before, clients.as_deref())?;
        let config = |shown: &Shown| server_config(&provider, clients.as_deref(), &resumption, shown);
        let presented = there().map(|one| Ok(Presented { config: config(one)?, shown: Arc::clone(one) }));
        let presented = presented.collect::<Result<Vec<_>, rustls::Error>>().map_err(|error| unfit(files, &error))?;
        Ok(Self { shown, presented, names, awaited, clients, resumption, warnings })
    }

    /// `None`: there is none yet for the name that is asked for.
    pub(super) fn choose(&self, hello: &ClientHello<'_>) -> Option<&Presented> {
        let named = hello.server_name().map(str::to_ascii_lowercase);
        let candidates = match named.as_deref() {
            Some(name) if self.awaited.contains(name) => self.names.of_name(name)?,
            name => self.names.candidates(name),
        };
        let usable = candidates.iter().find(|index| self.presented.get(**index).is_some_and(|one| one.suits(hello)));
        // Where none is usable, rustls finds the words for that.
        self.presented.get(usable.or(candidates.first()).copied().unwrap_or(0))
    }
}

/// What a certificate is for, whether it is there or not.
struct Claim<'a> {
    names: &'a [String],
    algorithm: SignatureAlgorithm,
    file: &'a Path,
}

impl<'a> Claim<'a> {
    fn of((one, shown): (&'a Certificate, &'a Option<Arc<Shown>>)) -> Self {
        match (one, shown) {
            // What was issued may be for more names, and nobody is to wait for those to learn of a clash.
            (Certificate::Ordered(ordered), _) => {
                Self { names: &ordered.names, algorithm: SignatureAlgorithm::ECDSA, file: &ordered.file }
            }
            (Certificate::Files(files), None) => {
                Self { names: &[], algorithm: SignatureAlgorithm::ECDSA, file: &files.certificate }
            }
            (_, Some(shown)) => Self { names: &shown.facts.names, algorithm: shown.algorithm(), file: &shown.file },
        }
    }
}

impl Resumption {
    /// Who was let in by one authority is not let in by what another has become: with other authorities, everybody begins anew.
    fn after(before: Option<&Loaded>, clients: Option<&Clients>) -> Result<Self, Diagnostic> {
        if let Some(before) = before
            && before.clients.as_deref().map(Clients::authorities) == clients.map(Clients::authorities)
        {
            return Ok(before.resumption.clone());
        }
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| {
            let message = format!("cannot make keys for TLS sessions: {error}");
            Diagnostic::new(Place::default(), message, "this is not a fault of your input")
        })?;
        Ok(Self { tickets, sessions: ServerSessionMemoryCache::new(SESSIONS) })
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    clients: Option<&Clients>,
    resumption: &Resumption,
    shown: &Shown,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(shown.resolver()));
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(&resumption.tickets);
    config.session_storage = Arc::clone(&resumption.sessions);
    Ok(Arc::new(config))
}

fn twice(claims: &[Claim<'_>], clash: &Clash) -> Diagnostic {
    let (first, second) = (&claims[clash.first], &claims[clash.second]);
    let name = &clash.name;
    let key = format!("{:?}", second.algorithm);
    let first = first.file.display();
    files::fault(
        second.file,
        &format!("`{name}` is a name of this certificate and of {first}, and the keys of both are {key}"),
        "leave one of them out: certificates for one name need keys of different types, such as RSA and ECDSA",
    )
}

fn unfit(files: &ListenerTls, error: &rustls::Error) -> Diagnostic {
    let message = format!("TLS cannot be set up with these certificates: {error}");
    let first = files.files().next().map(Place::file);
    Diagnostic::new(first.unwrap_or_default(), message, "give an X.509 certificate with an RSA, ECDSA or Ed25519 key")
}
