//! The Lambda function `create-bulk`.

fn main() -> Result<(), shared::Error> {
    shared::http::serve::<create_bulk::CreateBulk>()
}
