//! The Lambda function `bind-card`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    bind_card::run().await
}
