//! `bindery token`: an access token of the local stack's issuer.
//!
//! For deployments, tokens come from their own issuer: only the local one's key lies about in a file.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Args;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::failure::Failure;
use crate::output::Output;

/// The name of the local issuer's only key.
const KEY_ID: &str = "local-1";
/// How long before its expiry a token that has expired was issued.
const HOUR_SECONDS: i64 = 3600;
const SCOPES: &str = "cards:write cards:read orders:cancel operations:read";

/// Flags of `token`.
#[derive(Debug, Args)]
pub struct Token {
    /// `tenant_id`; empty: none.
    #[arg(long, env = "BINDERY_TENANT", default_value = "")]
    tenant: String,
    /// `account_id`; empty: none.
    #[arg(long, env = "BINDERY_ACCOUNT", default_value = "")]
    account: String,
    /// Scopes, separated by spaces.
    #[arg(long, default_value = SCOPES)]
    scope: String,
    /// Seconds from now; may be negative.
    #[arg(long, default_value_t = 24 * HOUR_SECONDS, allow_negative_numbers = true)]
    expires_in: i64,
    /// `aud`.
    #[arg(long, default_value = "bindery")]
    audience: String,
    /// Where the local stack keeps its things.
    #[arg(long, env = "BINDERY_LOCAL_DIR", default_value = "target/local")]
    local_dir: PathBuf,
}

impl Token {
    /// Prints the token.
    pub fn run(&self, output: Output) -> Result<(), Failure> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let expires = now + self.expires_in;
        let mut claims = json!({
            "iss": issuer(&self.local_dir)?, "sub": "local", "aud": self.audience, "scope": self.scope,
            "iat": now.min(expires - HOUR_SECONDS).max(now.min(expires - 1)), "exp": expires,
        });
        for (name, value) in [("tenant_id", &self.tenant), ("account_id", &self.account)] {
            if !value.is_empty() {
                claims[name] = value.as_str().into();
            }
        }
        let token = signed(&self.local_dir, &claims)?;
        if output.json {
            output.object(&json!({ "token": token }));
        } else {
            println!("{token}");
        }
        Ok(())
    }
}

fn signed(local: &Path, claims: &Value) -> Result<String, Failure> {
    let pem = read(local, "issuer-key.pem")?;
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(der).map_err(|_| Failure::new("issuer-key.pem is not a PEM file"))?;
    let key = RsaKeyPair::from_pkcs8(&der).map_err(|error| Failure::new(format!("issuer-key.pem: {error}")))?;
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": KEY_ID });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(&header), encode(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| Failure::new("the token could not be signed"))?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The local issuer's address: of the stack's two ports, the second.
fn issuer(local: &Path) -> Result<String, Failure> {
    let ports = read(local, "ports")?;
    let port = ports.split_whitespace().nth(1).ok_or_else(|| Failure::new("ports names no port of the issuer"))?;
    Ok(format!("http://127.0.0.1:{port}"))
}

fn read(local: &Path, name: &str) -> Result<String, Failure> {
    let file = local.join(name);
    fs::read_to_string(&file).map_err(|error| {
        Failure::new(format!("{}: {error}", file.display()))
            .help("tokens are made for the local stack alone: is it up (./infra/local/up)?")
    })
}
