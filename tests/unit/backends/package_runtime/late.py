def reversed_bytes(content):
    return content[::-1]
