// Declarations of the classes of Unity that WebcamExpression.cs uses, with the signatures of its manual.
namespace UnityEngine
{
    public class MonoBehaviour { }

    public struct Color32 { public byte r, g, b, a; }

    public struct Rect
    {
        public float x, y, width, height;
        public Rect(float x, float y, float width, float height)
        {
            this.x = x; this.y = y; this.width = width; this.height = height;
        }
    }

    public static class Application { public static string streamingAssetsPath { get { return ""; } } }

    public class WebCamTexture
    {
        public WebCamTexture(int requestedWidth, int requestedHeight) { }
        public int width { get { return 0; } }
        public int height { get { return 0; } }
        public bool didUpdateThisFrame { get { return false; } }
        public void Play() { }
        public void Stop() { }
        public Color32[] GetPixels32(Color32[] colors) { return colors; }
    }
}
