"""The link carries commands and files to a device over ADB."""
