//! The certificates that are to be there: each is ordered when it is missing, and again before it ends; one order after the other.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use instant_acme::Account;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::account;
use super::authority::Authority;
use super::due::{Waits, renewal, soonest};
use super::order;
use super::trouble::{Kind, Trouble};
use crate::config::{Certificate, Diagnostics, ListenerTls, OrderedCertificate};
use crate::ingress::{self, Challenges, Validity};
use crate::observe::AcmeOrders;
use crate::store::make_folder;

/// An order takes seconds; one that takes longer than this has been forgotten.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// Clocks are set, and machines sleep: when something is due is looked at this often at least.
const LOOKS: Duration = Duration::from_secs(60 * 60);

/// A process that was there before may take an authority's connections for a moment.
const SETTLED: Duration = Duration::from_secs(1);

/// What listeners do with certificates.
pub trait Installs: Send + Sync + 'static {
    /// Until when the one in this file is good that is in use.
    fn in_use(&self, file: &Path) -> Option<Validity>;

    /// Uses what is in this file from now on.
    ///
    /// # Errors
    /// What keeps it from being used.
    fn install(&self, file: &Path) -> Result<(), Diagnostics>;
}

/// All certificates that are ordered.
pub struct Orders {
    authority: Authority,
    store: PathBuf,
    certificates: Vec<OrderedCertificate>,
    challenges: Challenges,
    listeners: Arc<dyn Installs>,
    metrics: AcmeOrders,
    /// One for each certificate.
    standing: Mutex<Vec<Attempts>>,
    working: watch::Sender<bool>,
}

/// How a certificate stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The hosts that it is for.
    pub names: Vec<String>,
    /// Until when it is good that is in use.
    pub not_after: Option<i64>,
    /// When it is ordered, if nothing changes.
    pub next: SystemTime,
    /// Why the last order has come to nothing.
    pub trouble: Option<String>,
}

/// What is known of the orders of one certificate.
#[derive(Clone, Debug, Default)]
struct Attempts {
    not_before: Option<SystemTime>,
    trouble: Option<String>,
}

impl Orders {
    /// Nothing is ordered before [`Self::start`].
    #[must_use]
    pub fn new(
        authority: Authority,
        store: &Path,
        certificates: Vec<OrderedCertificate>,
        challenges: Challenges,
        listeners: Arc<dyn Installs>,
        metrics: AcmeOrders,
    ) -> Arc<Self> {
        let standing = Mutex::new(vec![Attempts::default(); certificates.len()]);
        let (store, working) = (store.to_owned(), watch::Sender::new(false));
        Arc::new(Self { authority, store, certificates, challenges, listeners, metrics, standing, working })
    }

    /// Orders may be placed from now on.
    pub fn start(&self) {
        self.working.send_replace(true);
    }

    /// They may not be any more. One that is under way is given up.
    pub fn stop(&self) {
        self.working.send_replace(false);
    }

    /// How each of them stands.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        let attempts = self.lock().clone();
        let all = self.certificates.iter().zip(attempts).map(|(certificate, attempts)| {
            let in_use = self.listeners.in_use(&certificate.file);
            Standing {
                names: certificate.names.clone(),
                not_after: in_use.map(|validity| validity.not_after),
                next: due(&attempts, in_use),
                trouble: attempts.trouble,
            }
        });
        all.collect()
    }

    /// Orders what is due, for as long as it may.
    pub async fn watch(self: Arc<Self>) {
        let waits = || Waits::new(self.authority.settings.retry);
        let mut each: Vec<Waits> = self.certificates.iter().map(|_| waits()).collect();
        let mut of_all = waits();
        let mut working = self.working.subscribe();
        while working.wait_for(|working| *working).await.is_ok() {
            let mut stopped = working.clone();
            tokio::select! {
                _ = stopped.wait_for(|working| !*working) => {}
                never = self.work(&mut each, &mut of_all) => match never {},
            }
        }
    }

    async fn work(&self, each: &mut [Waits], of_all: &mut Waits) -> std::convert::Infallible {
        sleep(SETTLED).await;
        let mut open_from = SystemTime::UNIX_EPOCH;
        loop {
            let (index, at) = self.next();
            let wait = at.max(open_from).duration_since(SystemTime::now()).unwrap_or_default();
            if !wait.is_zero() {
                sleep(wait.min(LOOKS)).await;
                continue;
            }
            // Without an account nothing can be ordered, so nothing else is tried for as long.
            let (ordered, waits, is_of_all) = match self.account().await {
                Ok(account) => (self.order(&account, index).await, &mut each[index], false),
                Err(trouble) => (Err(trouble), &mut *of_all, true),
            };
            let (now, closed) = (SystemTime::now(), self.authority.take_closed());
            match ordered {
                Ok(validity) => {
                    each[index].forget();
                    of_all.forget();
                    self.lock()[index] = Attempts { not_before: Some(soonest(validity, now)), trouble: None };
                }
                Err(trouble) => {
                    if trouble.kind == Kind::NoAccount {
                        account::forget(&self.authority.settings.account_file(&self.store));
                    }
                    let again = (now + waits.next(trouble.kind)).max(closed.unwrap_or(now));
                    self.tell(index, &trouble, again);
                    self.lock()[index] = Attempts { not_before: Some(again), trouble: Some(trouble.to_string()) };
                    if is_of_all || trouble.kind != Kind::Refused {
                        open_from = again;
                    }
                }
            }
            open_from = open_from.max(closed.unwrap_or(now));
        }
    }

    /// Which certificate is due first, and when.
    fn next(&self) -> (usize, SystemTime) {
        let attempts = self.lock();
        let each = self.certificates.iter().zip(&*attempts).enumerate();
        let each = each.map(|(index, (one, attempts))| (index, due(attempts, self.listeners.in_use(&one.file))));
        each.min_by_key(|(_, at)| *at).unwrap_or((0, SystemTime::now() + LOOKS))
    }

    async fn account(&self) -> Result<Account, Trouble> {
        let folder = crate::config::Acme::folder(&self.store);
        make_folder(&folder).map_err(|error| Trouble::here(format!("{} cannot be made: {error}", folder.display())))?;
        let file = self.authority.settings.account_file(&self.store);
        let opening = account::open(&self.authority, &file);
        timeout(LONGEST, opening).await.unwrap_or_else(|_| Err(Trouble::here("the authority took too long")))
    }

    async fn order(&self, account: &Account, index: usize) -> Result<Validity, Trouble> {
        let OrderedCertificate { names, file } = &self.certificates[index];
        let placing = order::place(account, names, &self.challenges);
        let placed = timeout(LONGEST, placing).await;
        let text = placed.unwrap_or_else(|_| Err(Trouble::here("the authority took too long")))?;
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        let validity = look(names, file, bytes.clone()).await?;
        account::write_aside(file, bytes).await?;
        self.listeners.install(file).map_err(|faults| Trouble::here(format!("it cannot be used: {faults}")))?;
        self.metrics.issued();
        let until = jiff::Timestamp::from_second(validity.not_after).unwrap_or(jiff::Timestamp::MAX);
        tracing::info!(names = names.join(" "), %until, "a certificate was issued, and is in use");
        Ok(validity)
    }

    fn tell(&self, index: usize, trouble: &Trouble, again: SystemTime) {
        let OrderedCertificate { names, file } = &self.certificates[index];
        let again = jiff::Timestamp::try_from(again).unwrap_or(jiff::Timestamp::MAX);
        let (names, has_one) = (names.join(" "), self.listeners.in_use(file).is_some());
        self.metrics.failed(trouble.kind != Kind::Unreachable);
        tracing::error!(names, has_one, %again, "no certificate was issued: {trouble}");
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attempts>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn due(attempts: &Attempts, in_use: Option<Validity>) -> SystemTime {
    let at = in_use.map_or(SystemTime::UNIX_EPOCH, renewal);
    attempts.not_before.map_or(at, |not_before| at.max(not_before))
}

/// Looks at a certificate under another name, before it takes the place of one that is good.
async fn look(names: &[String], file: &Path, bytes: Zeroizing<Vec<u8>>) -> Result<Validity, Trouble> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    account::write_aside(&new, bytes).await?;
    let ordered = OrderedCertificate { names: names.to_vec(), file: new.clone() };
    let certificates = vec![Certificate::Ordered(ordered)];
    let loaded = ingress::load_tls(&ListenerTls { certificates, clients: None }, &Challenges::default());
    let _ = std::fs::remove_file(&new);
    let unfit = |why: &str| Trouble::refused(format!("what the authority has issued is of no use: {why}"));
    let loaded = loaded.map_err(|faults| unfit(&faults.to_string()))?;
    let why = loaded.warnings().first().map(|warning| warning.message.clone()).unwrap_or_default();
    let validity = loaded.ordered(&new).ok_or_else(|| unfit(&why))?;
    match jiff::Timestamp::now().as_second() > validity.not_after {
        false => Ok(validity),
        true => Err(unfit("it has expired")),
    }
}
