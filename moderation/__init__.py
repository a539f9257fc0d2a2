"""Moderation of AI-generated images: is this picture real?"""
