//! An exchange on the loopback interface: one hub endpoint, any number of node endpoints.
#![allow(dead_code, unreachable_pub, reason = "shared by test files, each of which uses its part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hutong_certs::authority::{Authority, HUB_VALIDITY, NODE_VALIDITY};
use hutong_certs::clock;
use hutong_certs::credentials::Credentials;
use hutong_certs::enrol::{self, EnrolError, Enrolment, NodeFolder, NodeMaterial};
use hutong_certs::identity::NodeIdentity;
use hutong_certs::join::{JoinToken, TokenBook};
use hutong_certs::live::Live;
use hutong_certs::request::PrivateKey;
use hutong_certs::revoke::RevocationList;
use hutong_certs::roots::RootSet;
use hutong_certs::tls::{self, AgentTls, HandshakeFailure, HubTls, Protocol, SERVER_NAME};
use jiff::{SignedDuration, Timestamp};
use quinn::{Endpoint, TransportConfig, VarInt};

pub const DEADLINE: Duration = Duration::from_secs(20);
pub const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What the hub closes a connection with when it shows no identity.
pub const NO_IDENTITY: VarInt = VarInt::from_u32(7);

pub struct Exchange {
    pub authority: Arc<Authority>,
    pub tls: HubTls,
    pub enrolment: Arc<Enrolment>,
    pub address: SocketAddr,
    pub folder: tempfile::TempDir,
    endpoint: Endpoint,
}

/// How the hub greets whom it lets in.
pub fn greeting(identity: &NodeIdentity) -> Vec<u8> {
    format!("welcome {}", identity.node).into_bytes()
}

pub fn transport() -> Arc<TransportConfig> {
    Arc::new(TransportConfig::default())
}

pub fn node(name: &str) -> NodeIdentity {
    node_of("tieling.example", name)
}

pub fn node_of(exchange: &str, name: &str) -> NodeIdentity {
    NodeIdentity {
        exchange: exchange.parse().unwrap(),
        department: "11100000000013338W".parse().unwrap(),
        node: name.parse().unwrap(),
    }
}

pub fn authority(exchange: &str) -> Authority {
    Authority::create(&exchange.parse().unwrap(), clock::now()).unwrap()
}

/// A node's credentials without enrolment, valid from a day before `now` for `validity` after it.
pub fn issued(
    authority: &Authority,
    identity: &NodeIdentity,
    now: Timestamp,
    validity: SignedDuration,
) -> Credentials {
    let key = PrivateKey::generate().unwrap();
    let request = key.signing_request().unwrap();
    let issued = authority.issue_node(&request, identity, now, validity).unwrap();
    Credentials::new(issued.chain, key).unwrap()
}

impl Exchange {
    pub fn start() -> Self {
        Self::start_with(authority("tieling.example"), |_| {})
    }

    pub fn start_with(authority: Authority, change: impl FnOnce(&mut HubTls)) -> Self {
        let authority = Arc::new(authority);
        let now = clock::now();
        let names = ["127.0.0.1".into(), "hub.example".into()];
        let hub = authority.issue_hub(&names, now, HUB_VALIDITY).unwrap();
        let mut tls = HubTls {
            credentials: Live::new(hub),
            roots: Live::new(RootSet::new([authority.root().clone()]).unwrap()),
            revoked: RevocationList::default(),
            exchange: authority.exchange().clone(),
        };
        change(&mut tls);
        let folder = tempfile::tempdir().unwrap();
        let enrolment = Arc::new(Enrolment {
            authority: Live::shared(Arc::clone(&authority)),
            book: TokenBook::open(&folder.path().join("tokens"), now).unwrap(),
            roots: tls.roots.clone(),
            validity: NODE_VALIDITY,
            timeout: DEADLINE,
        });
        let config = tls::hub_server_config(&tls, transport()).unwrap();
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = endpoint.local_addr().unwrap();
        tokio::spawn(serve(endpoint.clone(), Arc::clone(&enrolment)));
        Self { authority, tls, enrolment, address, folder, endpoint }
    }

    pub async fn token(&self, name: &str) -> JoinToken {
        self.token_at(name, clock::now()).await
    }

    /// A token for one day from `now`.
    pub async fn token_at(&self, name: &str, now: Timestamp) -> JoinToken {
        let NodeIdentity { department, node, .. } = node(name);
        let fingerprint = self.authority.fingerprint();
        let issued = self.enrolment.book.issue(&[(department, node)], fingerprint, now, DAY).await;
        issued.unwrap().remove(0)
    }

    pub fn node_folder(&self, name: &str) -> NodeFolder {
        NodeFolder::new(self.node_path(name))
    }

    pub fn node_path(&self, name: &str) -> PathBuf {
        self.folder.path().join("nodes").join(name)
    }

    pub async fn enrol(
        &self,
        token: &JoinToken,
        folder: &NodeFolder,
    ) -> Result<NodeMaterial, EnrolError> {
        let endpoint = client();
        let connection =
            enrol::connect(&endpoint, self.address, token.authority, transport(), DEADLINE).await?;
        let enrolled = enrol::enrol(&connection, token, folder, "test 1.0", DEADLINE).await;
        connection.close(0_u32.into(), b"");
        enrolled
    }

    /// What a node with these credentials trusts by default.
    pub fn agent(&self, credentials: Credentials) -> AgentTls {
        AgentTls {
            credentials: Live::new(credentials),
            roots: Live::new(RootSet::new([self.authority.root().clone()]).unwrap()),
            exchange: self.authority.exchange().clone(),
        }
    }

    /// Connects and waits for the greeting, which is when a node knows that it is let in.
    pub async fn visit(&self, tls: &AgentTls) -> Result<String, HandshakeFailure> {
        let config = tls::agent_client_config(tls, transport()).unwrap();
        self.visit_as(config).await
    }

    pub async fn visit_as(&self, config: quinn::ClientConfig) -> Result<String, HandshakeFailure> {
        let explained = |error| tls::explain(&error, clock::now());
        let endpoint = client();
        let visit = async {
            let connection = endpoint
                .connect_with(config, self.address, SERVER_NAME)
                .unwrap()
                .await
                .map_err(explained)?;
            let mut greeting = connection.accept_uni().await.map_err(explained)?;
            let text = greeting.read_to_end(1024).await.unwrap();
            connection.close(0_u32.into(), b"");
            Ok(String::from_utf8(text).unwrap())
        };
        tokio::time::timeout(DEADLINE, visit).await.expect("the hub answers in time")
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.endpoint.close(0_u32.into(), b"");
    }
}

pub fn client() -> Endpoint {
    Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap()
}

async fn serve(endpoint: Endpoint, enrolment: Arc<Enrolment>) {
    while let Some(incoming) = endpoint.accept().await {
        let enrolment = Arc::clone(&enrolment);
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            match tls::protocol(&connection) {
                Some(Protocol::Enrolment) => {
                    enrolment.answer(&connection, |_| async { Ok::<_, String>(()) }).await;
                }
                Some(Protocol::Exchange) => match tls::require_identity(&connection) {
                    Ok(identity) => {
                        let mut stream = connection.open_uni().await.unwrap();
                        stream.write_all(&greeting(&identity)).await.unwrap();
                        stream.finish().unwrap();
                        connection.closed().await;
                    }
                    Err(error) => connection.close(NO_IDENTITY, error.to_string().as_bytes()),
                },
                None => connection.close(0_u32.into(), b""),
            }
        });
    }
}
