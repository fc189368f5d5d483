//! The business rules, and the facts that they are about.
//!
//! Everything here is a value or a pure function: no I/O, no clock, no randomness and no AWS. A rule gets its input
//! as arguments, such as a card as read, or a time of acceptance.

pub mod acceptance;
pub mod bind;
pub mod bulk;
pub mod cancel;
pub mod card;
pub mod consistency;
pub mod event;
pub mod ids;
pub mod operation;
pub mod order;
pub mod person;
pub mod status;
pub mod tenant;
pub mod time;
