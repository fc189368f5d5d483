//! The Lambda function `get-card`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    get_card::run().await
}
