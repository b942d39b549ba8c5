//! The client of the hub's Unix socket.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::api::types::Failure;

/// Talks to the hub that runs on this machine.
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// Has something done.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.exchange(Method::POST, path, serde_json::to_vec(order)?.into()).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<T> {
        let stream = UnixStream::connect(&self.socket).await.with_context(|| {
            format!(
                "no hub answers at {}; is it running (`hutong-hub serve`), with the same --data or --config, \
                 and are you its account?",
                self.socket.display()
            )
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "hub")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let answer =
            sender.send_request(request).await.context("the hub ended before it answered")?;
        let status = answer.status();
        let content =
            answer.into_body().collect().await.context("the hub ended before it answered")?;
        let content = content.to_bytes();
        connection.abort();
        if status.is_success() {
            return serde_json::from_slice(&content).context(
                "the hub's answer cannot be read; are hub and command of the same version?",
            );
        }
        Err(refusal(status, &content))
    }
}

fn refusal(status: StatusCode, content: &[u8]) -> anyhow::Error {
    let Ok(failure) = serde_json::from_slice::<Failure>(content) else {
        return anyhow!("the hub answered {status}: {}", String::from_utf8_lossy(content));
    };
    anyhow!("{}: {}", failure.code, failure.message)
}

/// A `limit`-like part of a path, such as `?resource=…`, with everything unusual escaped.
pub(super) fn query(pairs: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut text = String::new();
    for (name, value) in pairs {
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            bail!("{name} holds a control character");
        }
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    text.push(char::from(byte));
                }
                other => text.push_str(&format!("%{other:02X}")),
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let text = query(&[("resource", "303084122704/000001"), ("x", "示")]).expect("good");
        assert_eq!(text, "?resource=303084122704%2F000001&x=%E7%A4%BA");
        assert!(query(&[("x", "a\nb")]).is_err());
    }
}
