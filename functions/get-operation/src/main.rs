//! The Lambda function `get-operation`.

fn main() -> Result<(), shared::Error> {
    shared::http::serve::<get_operation::GetOperation>()
}
