//! All functions in one binary, of which the local stack and the tests run the one named by `_HANDLER`.
//!
//! On AWS, each function is a separate binary. One binary avoids linking fifteen, which takes longer than compiling
//! their code. The tests also run a function's own `main`, through `cargo lambda watch`.

use std::env;

use local_runner::{Visitor, visit};
use shared::Error;
use shared::aws::Aws;
use shared::config;
use shared::domain::person::Person;
use shared::http::{self, Endpoint};
use shared::pin::Pepper;
use shared::secret;
use shared::store::Store;
use shared::task::{self, Task};
use shared::worker::{self, Worker};

fn main() -> Result<(), Error> {
    if env::args().nth(1).as_deref() == Some("set-pin") {
        return tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(set_pin());
    }
    let mut search = Search { name: env::var("_HANDLER")?, serve: None };
    visit(&mut search);
    let serve = search.serve.ok_or_else(|| format!("no function is called {}", search.name))?;
    serve()
}

/// A visitor that finds the function with this name.
struct Search {
    name: String,
    serve: Option<fn() -> Result<(), Error>>,
}

impl Visitor for Search {
    fn endpoint<E: Endpoint>(&mut self) {
        if E::NAME == self.name {
            self.serve = Some(http::serve::<E>);
        }
    }

    fn worker<W: Worker>(&mut self) {
        if W::NAME == self.name {
            self.serve = Some(worker::serve::<W>);
        }
    }

    fn task<T: Task>(&mut self) {
        if T::NAME == self.name {
            self.serve = Some(task::serve::<T>);
        }
    }
}

/// Sets the PIN of the demo's person, like `bindery pin`, so that the demo does not wait for the CLI's build.
///
/// The arguments are the tenant, the person and the PIN. They are the demo's own and not secret.
async fn set_pin() -> Result<(), Error> {
    let [tenant, creator, pin] = env::args().skip(2).collect::<Vec<_>>().try_into().map_err(|_| "three arguments")?;
    let [table, pepper] = config::required(["TABLE_NAME", "PIN_PEPPER_SECRET"])?;
    let aws = Aws::from_env()?;
    let pepper = Pepper::new(&secret::read(&aws.secretsmanager(), &pepper).await?);
    let (tenant, creator) = (tenant.parse()?, creator.parse()?);
    let person = Person::with_pin(creator, true, pepper.hash(&tenant, creator, &pin)?);
    Store::new(aws.dynamodb(), table).put_person(&tenant, &person).await?;
    Ok(())
}
