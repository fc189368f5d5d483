//! All functions in one binary: the local stack and the tests run the one that `_HANDLER` names.
//!
//! On AWS each function is a binary of its own. Here one binary saves linking fifteen, which takes longer than
//! compiling what is in them. A function's own `main` is run by `cargo lambda watch`, which the tests try.

use std::env;
use std::pin::Pin;

use shared::Error;
use shared::aws::Aws;
use shared::config;
use shared::domain::person::Person;
use shared::pin::Pepper;
use shared::secret;
use shared::store::Store;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if env::args().nth(1).as_deref() == Some("set-pin") {
        return set_pin().await;
    }
    let name = env::var("_HANDLER")?;
    function(&name).ok_or_else(|| format!("no function is called {name}"))?.await
}

/// A function that serves until its process is stopped.
type Function = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

/// Returns the function of this name.
fn function(name: &str) -> Option<Function> {
    Some(match name {
        "bind-card-worker" => Box::pin(bind_card_worker::run()),
        "bind-card" => Box::pin(bind_card::run()),
        "cancel-bulk-worker" => Box::pin(cancel_bulk_worker::run()),
        "cancel-bulk" => Box::pin(cancel_bulk::run()),
        "cancel-orders-worker" => Box::pin(cancel_orders_worker::run()),
        "cancel-orders" => Box::pin(cancel_orders::run()),
        "create-bulk" => Box::pin(create_bulk::run()),
        "get-bulk" => Box::pin(get_bulk::run()),
        "get-card" => Box::pin(get_card::run()),
        "get-operation" => Box::pin(get_operation::run()),
        "increment-bulk" => Box::pin(increment_bulk::run()),
        "order-feed-worker" => Box::pin(order_feed_worker::run()),
        "start-bulk-worker" => Box::pin(start_bulk_worker::run()),
        "start-bulk" => Box::pin(start_bulk::run()),
        "webhook-worker" => Box::pin(webhook_worker::run()),
        _ => return None,
    })
}

/// Sets the PIN that the demo's person has, as `bindery pin` does: the demo need not wait until that is built.
///
/// Arguments: the tenant, the person, the PIN. They are the demo's and no secret.
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
