//! A greeted connection.

use std::time::Duration;

use bytes::Bytes;
use hutong_certs::{
    clock,
    stream::{FrameReader, FrameWriter, StreamError},
    tls::{self, AgentTls},
};
use hutong_schema::{
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        frame::{self, Message},
        v1::{
            Refused,
            control::{Hello, Welcome},
        },
        version::Version,
    },
};
use quinn::{Connection, VarInt};
use serde::{Deserialize, Serialize};

use super::{Dialler, LinkError, SOFTWARE, machine};

/// A greeted connection; cheap to clone.
#[derive(Clone, Debug)]
pub struct Session {
    connection: Connection,
    welcome: Welcome,
    answer_within: Duration,
}

/// The control stream of a session.
pub(super) struct ControlStream {
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
}

impl Session {
    /// Connects and greets. `instance` is the random number of this installation's state.
    ///
    /// # Errors
    /// When the hub is not reached, one side's certificate is refused, or the hub refuses the node.
    pub(super) async fn connect(
        dialler: &Dialler,
        tls: &AgentTls,
        instance: [u8; 16],
    ) -> Result<(Self, ControlStream), LinkError> {
        let connection = dialler.dial(tls).await?;
        let patience = dialler.patience();
        let greeted = tokio::time::timeout(patience.greeting, greet(&connection, instance)).await;
        let refused = match greeted {
            Ok(Ok((welcome, control))) => {
                let session = Self { connection, welcome, answer_within: patience.answer };
                return Ok((session, control));
            }
            Ok(Err(LinkError::Stream(error))) => {
                // The connection knows better why its streams broke.
                match connection.close_reason() {
                    Some(reason) => tls::explain(&reason, clock::now()).into(),
                    None => LinkError::Stream(error),
                }
            }
            Ok(Err(error)) => error,
            Err(_) => LinkError::Protocol("no greeting came".to_owned()),
        };
        connection.close(VarInt::from_u32(0), b"not greeted");
        Err(refused)
    }

    /// As [`connect`](Self::connect), for somebody who only asks questions. The control stream lives
    /// as long as the returned guard.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn visit(
        dialler: &Dialler,
        tls: &AgentTls,
        instance: [u8; 16],
    ) -> Result<Visitor, LinkError> {
        let (session, control) = Self::connect(dialler, tls, instance).await?;
        Ok(Visitor { session, _control: control })
    }

    /// The hub's greeting.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Asks one question or gives one command.
    ///
    /// # Errors
    /// When the hub refuses, or the connection breaks.
    pub async fn ask<Q, A>(&self, question: &Q) -> Result<A, LinkError>
    where
        Q: Message + Serialize,
        A: Message + for<'a> Deserialize<'a>,
    {
        let exchange = async {
            let (mut reader, mut writer) = self.open().await?;
            writer.send(question).await?;
            writer.finish();
            let content = reader.due(CONTROL_FRAME_BYTES_MAX).await?;
            answer(&content)
        };
        match tokio::time::timeout(self.answer_within, exchange).await {
            Ok(Err(LinkError::Stream(error))) => Err(self.broken(error)),
            Ok(answered) => answered,
            Err(_) => Err(self.unanswered()),
        }
    }

    /// The answer to the opening of a stream.
    ///
    /// # Errors
    /// When none comes in time, the hub refuses, or the connection breaks.
    pub(super) async fn opened<A>(&self, reader: &mut FrameReader) -> Result<A, LinkError>
    where
        A: Message + for<'a> Deserialize<'a>,
    {
        let due = reader.due(CONTROL_FRAME_BYTES_MAX);
        match tokio::time::timeout(self.answer_within, due).await {
            Ok(content) => answer(&content.map_err(|error| self.broken(error))?),
            Err(_) => Err(self.unanswered()),
        }
    }

    fn unanswered(&self) -> LinkError {
        LinkError::Protocol(format!("no answer within {} s", self.answer_within.as_secs_f64()))
    }

    /// Opens a stream; waits while the hub permits no more of them.
    pub(super) async fn open(&self) -> Result<(FrameReader, FrameWriter), LinkError> {
        match self.connection.open_bi().await {
            Ok((send, receive)) => Ok((FrameReader::new(receive), FrameWriter::new(send))),
            Err(error) => Err(tls::explain(&error, clock::now()).into()),
        }
    }

    /// Waits until the connection is gone, and tells why.
    pub(super) async fn gone(&self) -> LinkError {
        tls::explain(&self.connection.closed().await, clock::now()).into()
    }

    /// Whether the connection is gone.
    pub(super) fn is_over(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// Why a stream broke, if the whole connection did.
    pub(super) fn broken(&self, error: StreamError) -> LinkError {
        match self.connection.close_reason() {
            Some(reason) => tls::explain(&reason, clock::now()).into(),
            None => LinkError::Stream(error),
        }
    }

    pub(super) fn close(&self, reason: &str) {
        self.connection.close(VarInt::from_u32(0), reason.as_bytes());
    }
}

/// A session for questions; the connection is closed when it is dropped.
pub struct Visitor {
    session: Session,
    _control: ControlStream,
}

impl Visitor {
    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.session.close("done");
    }
}

/// Reads a due answer, or the refusal in its place.
pub(super) fn answer<'a, A: Message + Deserialize<'a>>(content: &'a Bytes) -> Result<A, LinkError> {
    let (kind, _) = frame::split(content).map_err(StreamError::from)?;
    if kind == Refused::KIND {
        return Err(LinkError::Refused(frame::expect(content).map_err(StreamError::from)?));
    }
    Ok(frame::expect(content).map_err(StreamError::from)?)
}

async fn greet(
    connection: &Connection,
    instance: [u8; 16],
) -> Result<(Welcome, ControlStream), LinkError> {
    let (send, receive) =
        connection.open_bi().await.map_err(|error| tls::explain(&error, clock::now()))?;
    let (mut reader, mut writer) = (FrameReader::new(receive), FrameWriter::new(send));
    let hello = Hello {
        min: Version::MIN.number(),
        max: Version::MAX.number(),
        software: SOFTWARE.to_owned(),
        instance: machine::instance(instance),
        clock_ms: clock::now().as_millisecond(),
    };
    writer.send(&hello).await?;
    let content = reader.due(CONTROL_FRAME_BYTES_MAX).await?;
    let welcome: Welcome = answer(&content)?;
    if Version::from_number(welcome.version).is_none() {
        return Err(LinkError::Protocol(format!(
            "it chose version {}, which this agent does not speak",
            welcome.version
        )));
    }
    Ok((welcome, ControlStream { reader, writer }))
}
