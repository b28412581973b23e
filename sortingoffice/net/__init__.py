"""The one door to the network: DNS, SMTP out, the scanner, the service supervisor."""
