//! The authority, the hub's own certificate, and the roots that are trusted: all of it can be
//! replaced while the hub serves.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use hutong_certs::{
    authority::{Authority, AuthorityError, HubName, offline},
    certificate::{self, CertificateFacts, CertificateProblem},
    clock,
    credentials::{Credentials, CredentialsError},
    files::{FileError, create_private_folder},
    identity::Identity,
    lifetime::Lifetime,
    live::Live,
    revoke::RevocationList,
    roots::{CaFingerprint, RootSet, RootsError},
    tls::HubTls,
};
use hutong_schema::ids::ExchangeName;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// The clock is looked at this often: it may be set, or the machine may have slept.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// What certificates are made of, and where they are.
#[derive(Clone, Debug)]
pub struct PkiOptions {
    /// Name of the exchange.
    pub exchange: ExchangeName,
    /// Folder of the authority.
    pub authority: PathBuf,
    /// Folder of the hub's own key and certificate.
    pub hub: PathBuf,
    /// Host names and addresses in the hub's certificate.
    pub names: Vec<String>,
    /// How long that is valid.
    pub validity: SignedDuration,
}

/// Why something cannot be done with the hub's keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// What stands in the authority's folder.
    #[error("load the authority in {0}; if it is damaged, bring {0} back from a backup", folder.display())]
    AuthorityDamaged {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: AuthorityError,
    },
    /// The authority.
    #[error("the authority")]
    Authority(#[from] AuthorityError),
    /// The trusted roots.
    #[error("the trusted roots")]
    Roots(#[from] RootsError),
    /// The hub's own certificate.
    #[error("the hub's own certificate")]
    Credentials(#[from] CredentialsError),
    /// A file or folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is no certificate.
    #[error("the certificate cannot be read")]
    Pem(#[source] certificate::PemError),
    /// One root is added at a time.
    #[error("the file holds {0} certificates, one root is due")]
    NotOne(usize),
    /// It is something else than a root of this exchange.
    #[error("this is the certificate of {0}, a root of this exchange is due")]
    NotARoot(Identity),
    /// It is no certificate of an exchange.
    #[error("this certificate cannot be used")]
    Certificate(#[from] CertificateProblem),
    /// The hub is ending.
    #[error("the hub is ending")]
    Ending(#[from] tokio::task::JoinError),
}

impl PkiError {
    /// The error with its causes, in one line.
    #[must_use]
    pub fn in_full(&self) -> String {
        hutong_schema::words::in_full(self)
    }
}

/// What the hub issues with, shows and trusts. Clones are handles to the same.
#[derive(Clone)]
pub struct Pki {
    options: Arc<PkiOptions>,
    /// Issues certificates.
    pub authority: Live<Authority>,
    /// What handshakes consult.
    pub tls: HubTls,
    /// One change of the files at a time.
    changing: Arc<Mutex<()>>,
}

impl Pki {
    /// Makes the authority and the hub's certificate. With a folder for an offline root, that gets
    /// the root's key, and an intermediate issues here.
    ///
    /// # Errors
    /// When there is an authority already, or something cannot be made or written.
    pub fn create(
        options: &PkiOptions,
        offline_root: Option<&std::path::Path>,
        now: Timestamp,
    ) -> Result<(), PkiError> {
        let root = Authority::create(&options.exchange, now)?;
        let authority = match offline_root {
            None => {
                root.save(&options.authority)?;
                root
            }
            Some(folder) => {
                root.save(folder)?;
                let request = offline::request(&options.authority)?;
                let chain =
                    root.sign_intermediate(&request, now, offline::INTERMEDIATE_VALIDITY)?;
                let roots = RootSet::new([root.root().clone()])?;
                offline::save_roots(&options.authority, &roots)?;
                offline::install(&options.authority, &chain)?
            }
        };
        issue_hub(&authority, options, now)?;
        Ok(())
    }

    /// Loads everything; makes the hub's certificate anew when it is due or damaged.
    ///
    /// # Errors
    /// When the authority cannot be loaded, or no certificate can be issued.
    pub fn load(
        options: PkiOptions,
        revoked: RevocationList,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let folder = &options.authority;
        let damaged = |source| PkiError::AuthorityDamaged { folder: folder.clone(), source };
        let authority = Authority::load(folder).map_err(damaged)?;
        let roots = authority.load_roots(folder).map_err(damaged)?;
        let (certificate, key) = paths(&options);
        let shown = |credentials| HubTls {
            credentials: Live::new(credentials),
            roots: Live::new(roots.clone()),
            revoked: revoked.clone(),
            exchange: options.exchange.clone(),
        };
        let present = match Credentials::load(&certificate, &key).map(shown) {
            Ok(tls) if tls.credentials.current().facts().lifetime().renew_at(0.5) <= now => {
                tracing::info!("the hub's certificate is renewed");
                None
            }
            // One that was damaged may read well: nodes look at its signature.
            Ok(tls) => tls.accepted_by_nodes(now).map(|()| tls).map_err(unusable).ok(),
            Err(error) => {
                unusable(error);
                None
            }
        };
        let tls = match present {
            Some(tls) => tls,
            None => shown(issue_hub(&authority, &options, now)?),
        };
        let (options, authority) = (Arc::new(options), Live::new(authority));
        Ok(Self { options, authority, tls, changing: Arc::default() })
    }

    /// Renews the hub's certificate at two thirds of its life. Connections that are up go on; agents
    /// know the hub by its name and its authority, so they notice nothing.
    pub async fn keep(self, cancel: CancellationToken) {
        let (mut failures, mut unit) = (0, rand::random());
        loop {
            let life = self.tls.credentials.current().facts().lifetime();
            let wait = match failures {
                0 => Duration::try_from(life.renew_at(unit).duration_since(clock::now()))
                    .unwrap_or_default(),
                _ => life.retry_after(clock::now(), failures, rand::random()),
            };
            tokio::select! {
                () = tokio::time::sleep(wait.min(LOOK_EVERY)) => {}
                () = cancel.cancelled() => return,
            }
            if wait > LOOK_EVERY {
                continue;
            }
            match self.reissue().await {
                Ok(()) => (failures, unit) = (0, rand::random()),
                Err(error) => {
                    failures += 1;
                    not_renewed(life, &error);
                }
            }
        }
    }

    /// Trusts one more root, beside those of before.
    ///
    /// # Errors
    /// When the text is not one root of this exchange, or cannot be stored.
    pub async fn trust(&self, pem: &str) -> Result<CaFingerprint, PkiError> {
        let certificates = certificate::from_pem(pem).map_err(PkiError::Pem)?;
        let [root] = &certificates[..] else {
            return Err(PkiError::NotOne(certificates.len()));
        };
        let facts = CertificateFacts::read(root)?;
        if facts.identity != Identity::Exchange(self.options.exchange.clone()) {
            return Err(PkiError::NotARoot(facts.identity));
        }
        let fingerprint = CaFingerprint::of(root);
        let _one = self.changing.lock().await;
        let roots = self.tls.roots.current().with(root.clone())?;
        self.save_roots(roots).await?;
        Ok(fingerprint)
    }

    /// Trusts a root no more.
    ///
    /// # Errors
    /// When it is the one that issues, or is not trusted.
    pub async fn distrust(&self, fingerprint: CaFingerprint) -> Result<(), PkiError> {
        let _one = self.changing.lock().await;
        let (authority, roots) = (self.authority.current(), self.tls.roots.current());
        let left = offline::without(&authority, &roots, fingerprint)?;
        self.save_roots(left).await
    }

    /// Issues with another certificate from now on, the hub's own at once.
    ///
    /// # Errors
    /// When nobody asked for it, its root is not trusted, or it cannot be stored.
    pub async fn install(&self, pem: &str) -> Result<(), PkiError> {
        let chain = certificate::from_pem(pem).map_err(PkiError::Pem)?;
        {
            let _one = self.changing.lock().await;
            let folder = self.options.authority.clone();
            let install = move || offline::install(&folder, &chain);
            self.authority.replace(tokio::task::spawn_blocking(install).await??);
        }
        let authority = self.authority.current();
        tracing::info!(root = %authority.fingerprint(), until = %authority.not_after(),
            "another authority issues from now on");
        self.reissue().await
    }

    async fn save_roots(&self, roots: RootSet) -> Result<(), PkiError> {
        let folder = self.options.authority.clone();
        let save = move || offline::save_roots(&folder, &roots).map(|()| roots);
        let roots = tokio::task::spawn_blocking(save).await??;
        tracing::info!(roots = roots.certificates().len(), "the trusted roots changed");
        self.tls.roots.replace(roots);
        Ok(())
    }

    /// Issues the hub's next certificate and shows it from the next handshake on.
    async fn reissue(&self) -> Result<(), PkiError> {
        let (authority, options) = (self.authority.current(), Arc::clone(&self.options));
        let _one = self.changing.lock().await;
        let issue = move || issue_hub(&authority, &options, clock::now());
        let credentials = tokio::task::spawn_blocking(issue).await??;
        tracing::info!(ends = %credentials.facts().not_after, "the hub's certificate is renewed");
        self.tls.credentials.replace(credentials);
        Ok(())
    }
}

fn unusable(reason: impl std::fmt::Display) {
    tracing::warn!(%reason, "the hub's certificate cannot be used and is made anew");
}

fn not_renewed(life: Lifetime, error: &PkiError) {
    let (ends, left_hours) = (life.ends(), life.left(clock::now()).as_secs() / 3_600);
    let reason = error.in_full();
    tracing::error!(%ends, left_hours, reason,
        "the hub's certificate could not be renewed; it is tried again");
}

fn issue_hub(
    authority: &Authority,
    options: &PkiOptions,
    now: Timestamp,
) -> Result<Credentials, PkiError> {
    let name = |text: &String| match text.parse::<IpAddr>() {
        Ok(address) => HubName::Address(address),
        Err(_) => HubName::Dns(text.clone()),
    };
    let names: Vec<HubName> = options.names.iter().map(name).collect();
    let credentials = authority.issue_hub(&names, now, options.validity)?;
    let (certificate, key) = paths(options);
    create_private_folder(&options.hub)?;
    credentials.save(&certificate, &key)?;
    Ok(credentials)
}

fn paths(options: &PkiOptions) -> (PathBuf, PathBuf) {
    (options.hub.join("hub.crt"), options.hub.join("hub.key"))
}
