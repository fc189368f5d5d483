//! Properties of all functions, collected from the code.

use std::collections::BTreeMap;

use local_runner::{Visitor, visit};
use serde_json::Value;
use shared::http::Endpoint;
use shared::worker::{QueueMessage, Worker};

#[derive(Default)]
struct Functions {
    max_body_bytes: BTreeMap<&'static str, usize>,
    readers: BTreeMap<&'static str, fn(&Value) -> bool>,
}

impl Visitor for Functions {
    fn endpoint<E: Endpoint>(&mut self) {
        if E::MAX_BODY_BYTES > 0 {
            self.max_body_bytes.insert(E::NAME, E::MAX_BODY_BYTES);
        }
    }

    fn worker<W: Worker>(&mut self) {
        self.readers.insert(W::Message::KIND, |message| serde_json::from_value::<W::Message>(message.clone()).is_ok());
    }
}

fn functions() -> Functions {
    let mut functions = Functions::default();
    visit(&mut functions);
    functions
}

/// Returns the maximum body size of each endpoint that takes a body.
pub fn max_body_bytes() -> BTreeMap<&'static str, usize> {
    functions().max_body_bytes
}

/// Returns whether the worker of this queue can parse this message.
pub fn reads(queue: &str, message: &Value) -> bool {
    let read = functions().readers.get(queue).copied();
    read.unwrap_or_else(|| panic!("no worker receives messages of kind {queue}"))(message)
}
