// Unpacks the browser of @sparticuz/chromium into TMPDIR, with the shared libraries that the package includes. The
// package unpacks the libraries only on Amazon Linux, so this script claims to run there.
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs22.x";
const { default: chromium } = await import("@sparticuz/chromium");
console.log(await chromium.executablePath());
