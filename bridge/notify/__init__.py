"""Messages to people about events: templates, texts that cannot mark up or mention, and the services that take them."""
