//! The Lambda function `get-operation`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shared::Error> {
    get_operation::run().await
}
