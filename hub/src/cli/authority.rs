//! `ca`: with the root's key where it is kept, with the hub's folder, or of the running hub.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, bail};
use hutong_certs::{
    authority::{Authority, offline},
    certificate, clock,
    files::{Access, read_text, write_atomic},
};
use jiff::SignedDuration;

use super::{
    args::{Ca, Cli},
    client::Client,
    remote::print,
    report,
};
use crate::{
    api::types::{AuthorityStatus, InstallOrder, RootOrder, TrustOrder},
    app::files,
    config::Config,
};

/// Around a request in its file.
const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
const END: &str = "-----END CERTIFICATE REQUEST-----";

pub(super) async fn carry_out(cli: &Cli, command: &Ca) -> anyhow::Result<ExitCode> {
    match command {
        Ca::NewRoot { exchange, out } => {
            let root = Authority::create(exchange, clock::now())?;
            root.save(out)?;
            println!("root {} of {exchange} is in {}", root.fingerprint(), out.display());
            println!("keep ca.key there offline; give ca.crt to: hutong-hub ca trust");
        }
        Ca::Request { out } => {
            let config = Config::load(&cli.config())?;
            let request = offline::request(&config.path(files::AUTHORITY))?;
            write_atomic(out, to_pem(&request).as_bytes(), Access::Public)?;
            println!(
                "the request is in {}; sign it where the root's key is: hutong-hub ca sign",
                out.display()
            );
        }
        Ca::Sign { root, request, out, days } => sign(root, request, out, *days)?,
        Ca::Show | Ca::Install { .. } | Ca::Trust { .. } | Ca::Distrust { .. } => {
            let config = Config::load(&cli.config())?;
            ask(cli, &Client::new(&config.path(files::SOCKET)), command).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(cli: &Cli, client: &Client, command: &Ca) -> anyhow::Result<()> {
    match command {
        Ca::Install { file, force } => {
            let order = InstallOrder { pem: read_text(file)?, force: *force };
            let status: AuthorityStatus = client.post("/admin/authority/install", &order).await?;
            print(cli, &status, report::authority)
        }
        Ca::Trust { file } => {
            let order = TrustOrder { pem: read_text(file)? };
            let done: RootOrder = client.post("/admin/authority/trust", &order).await?;
            print(cli, &done, |done| {
                let trusted =
                    format!("root {} is trusted; connected nodes are told", done.fingerprint);
                vec![trusted, "hutong-hub ca show tells which nodes know it".to_owned()]
            })
        }
        Ca::Distrust { fingerprint } => {
            let order = RootOrder { fingerprint: fingerprint.clone() };
            let done: RootOrder = client.post("/admin/authority/distrust", &order).await?;
            print(cli, &done, |done| vec![format!("root {} is trusted no more", done.fingerprint)])
        }
        Ca::Show | Ca::NewRoot { .. } | Ca::Request { .. } | Ca::Sign { .. } => {
            let status: AuthorityStatus = client.get("/admin/authority").await?;
            print(cli, &status, report::authority)
        }
    }
}

fn sign(root: &Path, request: &Path, out: &Path, days: i64) -> anyhow::Result<()> {
    let authority =
        Authority::load(root).with_context(|| format!("the root in {}", root.display()))?;
    let der = from_pem(&read_text(request)?)
        .with_context(|| format!("the request in {}", request.display()))?;
    let validity = SignedDuration::from_hours(days * 24);
    let chain = authority.sign_intermediate(&der, clock::now(), validity)?;
    write_atomic(out, certificate::to_pem(&chain).as_bytes(), Access::Public)?;
    println!("the certificate is in {}; at the hub: hutong-hub ca install FILE", out.display());
    Ok(())
}

fn to_pem(request: &[u8]) -> String {
    let body = data_encoding::BASE64.encode(request);
    let mut text = format!("{BEGIN}\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + END + "\n"
}

fn from_pem(text: &str) -> anyhow::Result<Vec<u8>> {
    let inner = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let Some((body, _)) = inner else { bail!("not a certificate request in PEM") };
    let body: String = body.split_whitespace().collect();
    data_encoding::BASE64.decode(body.as_bytes()).context("not base64")
}
