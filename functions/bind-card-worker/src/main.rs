//! The Lambda function `bind-card-worker`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    bind_card_worker::run().await
}
