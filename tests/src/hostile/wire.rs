//! The hostile side of a connection: everything an agent can send, and what it never would.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hutong_certs::enrol::NodeFolder;
use hutong_certs::stream::{FrameReader, StreamError};
use hutong_certs::tls::{self, SERVER_NAME};
use hutong_schema::limits::FRAME_BYTES_MAX;
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::v1::Refused;
use hutong_schema::wire::v1::control::{Hello, Welcome};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportConfig, VarInt};

/// No answer of a hub takes this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where the hub is, and the identities to come with.
#[derive(Clone, Debug)]
pub struct Door {
    /// The hub.
    pub address: SocketAddr,
    /// The folder with a folder for each enrolled node.
    pub nodes: PathBuf,
}

/// What the hub may send ahead of being read.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// On one stream, bytes.
    pub stream: u32,
    /// On the connection, bytes.
    pub connection: u32,
}

/// As agents have them.
impl Default for Windows {
    fn default() -> Self {
        Self { stream: 8 << 20, connection: 16 << 20 }
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Rogue {
    /// The connection.
    pub connection: Connection,
    name: String,
}

/// A greeted connection's control stream.
#[derive(Debug)]
pub struct Control {
    /// What the hub says.
    pub reader: FrameReader,
    /// What is said to it, byte by byte.
    pub raw: quinn::SendStream,
}

/// What the hub said.
#[derive(Debug)]
pub enum Said {
    /// It refused.
    Refused(Refused),
    /// A message of this kind.
    Message(u8, Bytes),
    /// It finished the stream.
    Finished,
    /// It closed the connection with this code and these words.
    Closed(u64, String),
    /// It broke the stream off.
    Broken(String),
}

impl Said {
    /// The content of the message of this kind that was due.
    ///
    /// # Errors
    /// With what was said instead, and `what` was due.
    pub fn message(self, kind: u8, what: &str) -> Result<Bytes> {
        if let Self::Message(found, content) = &self
            && *found == kind
        {
            return Ok(content.clone());
        }
        bail!("{what}: {self:?}")
    }

    /// The code of a refusal, on the stream or in the closing frame.
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Refused(refused) => Some(refused.code.into()),
            Self::Closed(code, _) => Some(*code),
            Self::Message(..) | Self::Finished | Self::Broken(_) => None,
        }
    }
}

/// An endpoint of its own at an address of this machine.
///
/// # Errors
/// When the address cannot be bound.
pub(super) fn endpoint(from: Ipv4Addr) -> Result<Endpoint> {
    Endpoint::client(SocketAddr::new(IpAddr::V4(from), 0)).with_context(|| format!("bind {from}"))
}

impl Door {
    /// What a node shows to be let in.
    ///
    /// # Errors
    /// When it is not enrolled.
    pub fn tls(&self, node: &str, windows: Windows) -> Result<ClientConfig> {
        let material = NodeFolder::new(self.nodes.join(node)).load()?;
        Ok(tls::agent_client_config(&material.into_tls(), transport(windows))?)
    }
}

/// Windows and a life sign, so that only the hub's own limits end a connection.
pub(super) fn transport(windows: Windows) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(windows.stream))
        .receive_window(VarInt::from_u32(windows.connection))
        .keep_alive_interval(Some(Duration::from_secs(2)));
    Arc::new(transport)
}

impl Rogue {
    /// Connects as a node; nothing is said yet.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn connect(
        endpoint: &Endpoint,
        door: &Door,
        node: &str,
        windows: Windows,
    ) -> Result<Self> {
        let connecting =
            endpoint.connect_with(door.tls(node, windows)?, door.address, SERVER_NAME)?;
        let connection = tokio::time::timeout(ANSWER_WITHIN, connecting)
            .await
            .context("no handshake in time")??;
        Ok(Self { connection, name: node.to_owned() })
    }

    /// Connects and greets as an agent does.
    ///
    /// # Errors
    /// When the hub does not welcome it.
    pub async fn visit(
        endpoint: &Endpoint,
        door: &Door,
        node: &str,
        windows: Windows,
    ) -> Result<(Self, Control)> {
        let rogue = Self::connect(endpoint, door, node, windows).await?;
        let (mut raw, receive) = rogue.connection.open_bi().await?;
        raw.write_all(&frame::encode(&rogue.hello())?).await?;
        let mut reader = FrameReader::new(receive);
        let said = rogue.said(&mut reader).await?;
        said.message(Welcome::KIND, "a node was to be welcomed")?;
        Ok((rogue, Control { reader, raw }))
    }

    /// A greeting as it should be.
    pub fn hello(&self) -> Hello {
        let mut instance = [0; 16];
        instance.copy_from_slice(&blake3::hash(self.name.as_bytes()).as_bytes()[..16]);
        let software = "hostile".to_owned();
        Hello {
            min: 1,
            max: 1,
            software,
            instance,
            clock_ms: hutong_certs::clock::now().as_millisecond(),
        }
    }

    /// Opens a stream, sends these bytes and, if it is so wished, no more.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn say(
        &self,
        bytes: &[u8],
        finish: bool,
    ) -> Result<(quinn::SendStream, FrameReader)> {
        let opening = tokio::time::timeout(ANSWER_WITHIN, self.connection.open_bi());
        let (mut send, receive) = opening.await.context("no stream is to be had")??;
        send.write_all(bytes).await?;
        if finish {
            send.finish()?;
        }
        Ok((send, FrameReader::new(receive)))
    }

    /// Sends these bytes on a stream of their own and hears the answer.
    ///
    /// # Errors
    /// When no answer comes in time.
    pub async fn ask(&self, bytes: &[u8], finish: bool) -> Result<Said> {
        let (_send, mut reader) = self.say(bytes, finish).await?;
        self.said(&mut reader).await
    }

    /// The next thing that the hub says on a stream.
    ///
    /// # Errors
    /// When nothing comes in time.
    pub async fn said(&self, reader: &mut FrameReader) -> Result<Said> {
        let next = tokio::time::timeout(ANSWER_WITHIN, reader.next(FRAME_BYTES_MAX));
        match next.await.context("no answer in time")? {
            Ok(None) => Ok(Said::Finished),
            Ok(Some(content)) => {
                let (kind, _) = frame::split(&content)?;
                Ok(match kind {
                    Refused::KIND => Said::Refused(frame::expect(&content)?),
                    kind => Said::Message(kind, content),
                })
            }
            Err(StreamError::Read(quinn::ReadError::ConnectionLost(lost))) => Ok(closed(&lost)),
            Err(other) => Ok(Said::Broken(other.to_string())),
        }
    }

    /// How the hub ends the connection.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn ended(&self) -> Result<Said> {
        let ended = tokio::time::timeout(ANSWER_WITHIN, self.connection.closed()).await;
        Ok(closed(&ended.context("the hub did not end the connection")?))
    }
}

fn closed(error: &ConnectionError) -> Said {
    let ConnectionError::ApplicationClosed(close) = error else {
        return Said::Broken(error.to_string());
    };
    let words = String::from_utf8_lossy(&close.reason).into_owned();
    Said::Closed(close.error_code.into_inner(), words)
}
