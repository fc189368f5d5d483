//! The Lambda function `cancel-orders`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    cancel_orders::run().await
}
