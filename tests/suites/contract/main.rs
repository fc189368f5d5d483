//! Tests of the contract's promises to clients and subscribers, against the deployed stack.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod bulks;
mod canary;
mod cancels;
mod cards;
mod orders;
mod pre_traffic;
mod serializers;
mod tenants;
mod webhooks;
