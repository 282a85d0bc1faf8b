// Starts Swagger UI. Nothing is asked of any other server, and nothing is kept: a certificate that
// is entered here is gone with the page.
"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  persistAuthorization: false,
  queryConfigEnabled: false,
  validatorUrl: null,
});
