//! The Lambda function `cancel-orders-worker`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    cancel_orders_worker::run().await
}
